"""Zeros in tensors, counted over the mapped file without copying it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from sacdoctor.checkpoint import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 1 << 20
"""Elements looked at together where counting needs a temporary array."""


def count_zeros(tensor: Tensor) -> int:
    """Return how many elements are exactly zero: −0.0 counts, NaN does not."""
    if tensor.numel == 0:
        return 0
    # An expanded tensor repeats elements (stride 0): count them once and multiply.
    repeats = prod(n for n, step in zip(tensor.shape, tensor.stride, strict=True) if step == 0)
    once = tuple(slice(0, 1) if step == 0 else slice(None) for step in tensor.stride)
    return repeats * _zeros(tensor.values[once], tensor.dtype.zero_mask)


def gate_zero_percent(tensor: Tensor, gates: Mapping[str, slice]) -> dict[str, float]:
    """Return the share of zeros, in percent, of each gate's rows (dimension 0)."""
    shares = {}
    for gate, rows in gates.items():
        part = tensor.values[rows]
        shares[gate] = (
            100.0 * _zeros(part, tensor.dtype.zero_mask) / part.size if part.size else 0.0
        )
    return shares


def all_equal(tensor: Tensor, value: float) -> bool:
    """Return whether every element is exactly `value`; False for types numpy does not know."""
    if tensor.dtype.zero_mask:
        return bool(np.all(raw_as_float32(tensor) == value))
    return all(bool(np.all(chunk == value)) for chunk in _chunks(tensor.values))


def raw_as_float32(tensor: Tensor) -> NDArray[np.float32]:
    """Return a bfloat16 tensor's values: its bits are a float32's upper half.

    Returns an array of NaN for float8, which has no such widening.
    """
    if tensor.dtype.name != "bfloat16":
        return np.full(tensor.shape, np.nan, dtype=np.float32)
    widened: NDArray[np.float32] = (tensor.values.astype(np.uint32) << 16).view(np.float32)
    return widened


def _zeros(values: NDArray[Any], mask: int) -> int:
    if not mask:
        return int(values.size - np.count_nonzero(values))
    return sum(
        int(chunk.size - np.count_nonzero(chunk & chunk.dtype.type(mask)))
        for chunk in _chunks(values)
    )


def _chunks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the elements in pieces of about `_CHUNK`, whole rows of the first dimension."""
    if values.size <= _CHUNK or values.ndim == 0:
        yield values
        return
    if values.ndim > 1 and values[0].size > _CHUNK:
        for row in values:
            yield from _chunks(row)
        return
    rows = max(1, _CHUNK // max(1, values[0].size))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]
