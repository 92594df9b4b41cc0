"""How far apart a tensor is in two checkpoints, element by element."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.checkpoint import Tensor
from sacdoctor.diagnosis import as_floats, chunks, has_floats, pieces
from sacdoctor.errors import UnsupportedCheckpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Distance(Struct, frozen=True):
    """How far two tensors of one shape are apart.

    `changed`: elements whose bits differ (their values, where the types differ). `max_abs`: the
    largest absolute difference. `l2`: the Euclidean norm of the difference; `relative_l2`: that,
    divided by the norm before. All three are None where NaN or infinity is among what changed,
    and for float8, which numpy cannot subtract; the last also where the norm before is 0.
    """

    changed: int
    max_abs: float | None
    l2: float | None
    relative_l2: float | None


UNCHANGED = Distance(0, 0.0, 0.0, 0.0)


def distance(before: Tensor, after: Tensor) -> Distance:
    """Return how far two tensors of the same shape are apart.

    Raises `UnsupportedCheckpoint` where both repeat elements, each in its own way: to compare
    them could take for ever.
    """
    if before.dtype == after.dtype:
        differing = sum(
            int(np.count_nonzero(_bits(a) != _bits(b))) for a, b in _pairs(before, after)
        )
        if not differing:
            return UNCHANGED
    seen, changed, largest, squares, norm = 0, 0, 0.0, 0.0, 0.0
    with np.errstate(all="ignore"):
        for a, b in _pairs(before, after):
            old, new = _numbers(before, a), _numbers(after, b)
            if before.dtype == after.dtype:
                differs = (_bits(a) != _bits(b)).reshape(-1)
            else:
                differs = (old != new) & ~(np.isnan(old) & np.isnan(new))
            gap = np.abs(new[differs] - old[differs])
            seen += a.size
            changed += gap.size
            largest = max(largest, float(gap.max(initial=0.0)))
            squares += float(np.dot(gap, gap))
            norm += float(np.vdot(old, old).real)
    if not changed:
        return UNCHANGED
    repeats = before.numel // max(1, seen)
    if not (_has_numbers(before) and _has_numbers(after) and isfinite(squares)):
        return Distance(repeats * changed, None, None, None)
    relative = sqrt(squares / norm) if norm and isfinite(norm) else None
    return Distance(repeats * changed, largest, sqrt(repeats * squares), relative)


def _pairs(before: Tensor, after: Tensor) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield the same part of both, piece by piece."""
    if before.is_contiguous and after.is_contiguous:
        yield from zip(pieces(before), pieces(after), strict=True)
    else:
        yield from zip(*map(chunks, _distinct(before, after)), strict=True)


def _distinct(before: Tensor, after: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the elements of both, less what both repeat along the same dimension (stride 0)."""
    steps = zip(before.stride, after.stride, strict=True)
    once = tuple(slice(0, 1) if step == (0, 0) else slice(None) for step in steps)
    old, new = before.values[once], after.values[once]
    if old.size > before.storage.numel and new.size > after.storage.numel:
        raise UnsupportedCheckpoint(
            f"two tensors of shape {before.shape} repeat their elements in different ways"
        )
    return old, new


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    size = values.dtype.itemsize
    return values.view(f"u{size}" if size <= 8 else f"V{size}")


def _numbers(tensor: Tensor, values: NDArray[Any]) -> NDArray[Any]:
    wide = np.complex128 if values.dtype.kind == "c" else np.float64
    return as_floats(tensor, values).astype(wide).reshape(-1)


def _has_numbers(tensor: Tensor) -> bool:
    return has_floats(tensor) or not tensor.dtype.is_floating_point
