"""Whether a measure got better on held-out transitions, and how sure that is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_QUANTILE = 1.96
"""Of the normal distribution: 95 % lie between minus and plus so many standard errors."""


class Gain(NamedTuple):
    """How much smaller a loss became: its means before and after, and the 95 % interval of the
    difference, which is above 0 where it became smaller."""

    before: float
    after: float
    low: float
    high: float

    @property
    def is_proven(self) -> bool:
        return self.low > 0.0


def gain(before: Tensor, after: Tensor, blocks: NDArray[np.int64]) -> Gain:
    """Return how much smaller the second loss is, row by row; both of shape (n,).

    Rows of one of the `blocks` (n,) are neighbours and alike, so each block counts once.
    """
    differences = (before - after).double().numpy()
    _, which = np.unique(blocks, return_inverse=True)
    sizes = np.bincount(which)
    means = np.bincount(which, differences) / sizes
    mean = float(differences.mean())
    weights = sizes / sizes.mean()
    error = float(np.sqrt(np.mean((weights * (means - mean)) ** 2) / max(1, len(sizes) - 1)))
    error = error if len(sizes) > 1 else float("inf")
    return Gain(
        float(before.double().mean()),
        float(after.double().mean()),
        mean - _QUANTILE * error,
        mean + _QUANTILE * error,
    )
