"""What the elements of tensors say, read from the file piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite, prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.checkpoint import Tensor
from sacdoctor.files import SCRATCH, scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 1 << 20
"""Elements looked at together where counting needs a temporary array."""
_SMALL = 1 << 17
"""The same where sums do not depend on it: what fits a processor's cache is faster."""


class Measures(Struct, frozen=True):
    """What one pass over a tensor finds.

    `zeros`: elements that are exactly zero (−0.0 counts, NaN does not). `non_finite`: NaN and
    infinite elements. `norm`: the Euclidean norm of the finite ones, 0.0 for whole numbers and
    for types that numpy cannot widen.
    """

    zeros: int
    non_finite: int
    norm: float


def measure(tensor: Tensor) -> Measures:
    """Return what one pass over the tensor finds; an expanded tensor's repeats count too."""
    if tensor.numel == 0:
        return Measures(0, 0, 0.0)
    repeats = prod(n for n, step in zip(tensor.shape, tensor.stride, strict=True) if step == 0)
    zeros = non_finite = 0
    squares = 0.0
    mask = tensor.dtype.zero_mask
    for chunk in pieces(tensor):
        bits = chunk & chunk.dtype.type(mask) if mask else chunk
        zeros += int(np.count_nonzero(bits == 0))
        bad, square = _squares(tensor, chunk)
        non_finite, squares = non_finite + bad, squares + square
    return Measures(repeats * zeros, repeats * non_finite, sqrt(repeats * squares))


def count_non_finite(tensor: Tensor) -> int:
    """Return how many elements are NaN or infinite; 0 for whole numbers and float8.

    Unlike `measure` it squares nothing: an optimizer's moments are so small that their squares
    are denormal numbers, on which a processor spends a hundred times as long.
    """
    if not has_floats(tensor):
        return 0
    repeats = prod(n for n, step in zip(tensor.shape, tensor.stride, strict=True) if step == 0)
    count = 0
    for chunk in pieces(tensor, _SMALL):
        count += int(chunk.size - np.count_nonzero(np.isfinite(as_floats(tensor, chunk))))
    return repeats * count


def largest(tensor: Tensor) -> float:
    """Return the largest absolute value among the finite elements, 0.0 where there are none."""
    worst = 0.0
    for chunk in pieces(tensor, _SMALL):
        values = np.abs(as_floats(tensor, chunk))
        worst = max(worst, float(values[np.isfinite(values)].max(initial=0.0)))
    return worst


def non_finite_positions(tensor: Tensor, most: int) -> list[tuple[int, ...]]:
    """Return the indices of the first `most` elements that are NaN or infinite."""
    bad = np.argwhere(~np.isfinite(as_floats(tensor, once(tensor.values))))[:most]
    return [tuple(int(index) for index in row) for row in bad]


def zero_positions(tensor: Tensor) -> NDArray[np.int64]:
    """Return the positions, in C order, of the elements that `measure` counts as zeros."""
    values = tensor.values.reshape(-1)
    if tensor.dtype.zero_mask:
        values = values & values.dtype.type(tensor.dtype.zero_mask)
    return np.flatnonzero(values == 0)


def gate_zero_percent(tensor: Tensor, gates: Mapping[str, slice]) -> dict[str, float]:
    """Return the share of zeros, in percent, of each gate's rows (dimension 0)."""
    shares = {}
    for gate, rows in gates.items():
        part = once(tensor.values[rows])
        shares[gate] = 100.0 * _zeros(tensor, part) / part.size if part.size else 0.0
    return shares


def all_equal(tensor: Tensor, value: float) -> bool:
    """Return whether every element is exactly `value`; False for types numpy does not know."""
    if tensor.dtype.zero_mask:
        return bool(np.all(once(raw_as_float32(tensor)) == value))
    return all(bool(np.all(chunk == value)) for chunk in pieces(tensor, _SMALL))


def as_numbers(tensor: Tensor) -> NDArray[Any]:
    """Return the elements as numpy's numbers: bfloat16 widened, float8 as NaN."""
    return raw_as_float32(tensor) if tensor.dtype.zero_mask else tensor.values


def raw_as_float32(tensor: Tensor) -> NDArray[np.float32]:
    """Return a bfloat16 tensor's values: its bits are a float32's upper half.

    Returns an array of NaN for float8, which has no such widening.
    """
    if tensor.dtype.name != "bfloat16":
        return np.broadcast_to(np.float32(np.nan), tensor.shape)
    wide = once(tensor.values).astype(np.uint32) << 16
    return np.broadcast_to(wide.view(np.float32), tensor.shape)


def _squares(tensor: Tensor, chunk: NDArray[Any]) -> tuple[int, float]:
    """Return how many elements are not finite, and the sum of the squares of the others."""
    if not has_floats(tensor):
        return 0, 0.0
    flat = as_floats(tensor, chunk).reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.dot(flat, flat))
    if isfinite(total):
        return 0, total
    # Something is not finite, or only the sum is too large for the type.
    wide = flat.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    return int(wide.size - finite.size), float(np.dot(finite, finite))


def has_floats(tensor: Tensor) -> bool:
    """Return whether the elements are floats that numpy can calculate with: not float8."""
    return tensor.dtype.is_floating_point and not tensor.dtype.name.startswith("float8")


def as_floats(tensor: Tensor, chunk: NDArray[Any]) -> NDArray[Any]:
    """Return a part of the tensor's raw elements as numbers; 16-bit floats come as float32."""
    if tensor.dtype.name == "bfloat16":
        return (chunk.astype(np.uint32) << 16).view(np.float32)
    return chunk.astype(np.float32) if tensor.dtype.name == "float16" else chunk


def once(values: NDArray[Any]) -> NDArray[Any]:
    """Return the elements without those that an expanded tensor repeats (stride 0).

    A few bytes can claim more repetitions than anyone would wait for.
    """
    return values[tuple(slice(0, 1) if step == 0 else slice(None) for step in values.strides)]


def _zeros(tensor: Tensor, part: NDArray[Any]) -> int:
    mask, zeros = tensor.dtype.zero_mask, 0
    for chunk in chunks(part):
        bits = chunk & chunk.dtype.type(mask) if mask else chunk
        zeros += int(np.count_nonzero(bits == 0))
    return zeros


def pieces(tensor: Tensor, size: int = _CHUNK) -> Iterator[NDArray[Any]]:
    """Yield the elements in pieces of about `size`, in order; what is repeated comes once.

    A piece is good until the next. Tensors of one shape that are not both contiguous may come in
    different pieces.
    """
    if not tensor.is_contiguous or tensor.dtype.itemsize * size > SCRATCH:
        yield from chunks(once(tensor.values))
        return
    with scratch() as room:
        for start in range(0, tensor.numel, size):
            yield tensor.part(start, min(start + size, tensor.numel), room)


def row_pieces(tensor: Tensor) -> Iterator[NDArray[Any]]:
    """Yield the rows along the first dimension, flat, some at a time; each at least once.

    What is repeated along another dimension comes once, and so do rows that all are one.
    """
    if not tensor.is_contiguous or not tensor.numel:
        values = once(tensor.values)
        yield values.reshape(len(values), -1)
        return
    width = tensor.numel // tensor.shape[0]
    step = max(1, _SMALL // width)
    for row in range(0, tensor.shape[0], step):
        end = min(row + step, tensor.shape[0])
        yield tensor.part(row * width, end * width).reshape(-1, width)


def chunks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the elements in pieces of about `_CHUNK`, whole rows of the first dimension."""
    if values.size <= _CHUNK or values.ndim == 0:
        yield values
        return
    if values.ndim > 1 and values[0].size > _CHUNK:
        for row in values:
            yield from chunks(row)
        return
    rows = max(1, _CHUNK // max(1, values[0].size))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]
