"""How the values of tensors are spread, for a picture: worked out when somebody asks for one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sacdoctor.checkpoint import Checkpoint, Tensor
from sacdoctor.diagnosis.statistics import as_floats, has_floats, pieces

SMALLEST, LARGEST = -8, 4
"""Powers of ten between which the bins lie; what is beyond stands in the first or the last."""
PER_DECADE = 3
BINS = (LARGEST - SMALLEST) * PER_DECADE


class Spread(NamedTuple):
    """How many elements of a tensor are exactly zero, how many are NaN or infinite, and the others
    by the power of ten of their absolute values: `counts`, one for each of `BINS`.

    What an expanded tensor repeats counts once.
    """

    zeros: int
    non_finite: int
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """The number of elements."""
        return self.zeros + self.non_finite + sum(self.counts)

    @property
    def median(self) -> float | None:
        """About the middle of the absolute values that are neither zero nor NaN, if there are any.

        It is as exact as a bin is wide.
        """
        if not any(self.counts):
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), sum(self.counts) / 2))
        return float(10.0 ** (SMALLEST + (place + 0.5) / PER_DECADE))


def spreads(path: str | Path, names: Collection[str]) -> dict[str, Spread]:
    """Return the spread of each of these tensors that the checkpoint has and whose are floats.

    Raises `CheckpointError` where it cannot be read.
    """
    with Checkpoint(path) as checkpoint:
        tensors = checkpoint.tensors
        found = {
            name: spread(tensors[name])
            for name in names
            if name in tensors and tensors[name].numel and has_floats(tensors[name])
        }
        checkpoint.refuse_changed()
    return found


def spread(tensor: Tensor) -> Spread:
    """Return how the elements of a tensor of floats are spread."""
    zeros = non_finite = 0
    counts = np.zeros(BINS, np.int64)
    for piece in pieces(tensor):
        values = np.abs(as_floats(tensor, piece).astype(np.float64)).reshape(-1)
        is_finite = np.isfinite(values)
        non_finite += int(values.size - np.count_nonzero(is_finite))
        values = values[is_finite]
        powers = np.log10(values[values > 0])
        zeros += int(values.size - powers.size)
        places = np.floor((powers - SMALLEST) * PER_DECADE)
        counts += np.bincount(places.clip(0, BINS - 1).astype(np.int64), minlength=BINS)
    return Spread(zeros, non_finite, tuple(counts.tolist()))
