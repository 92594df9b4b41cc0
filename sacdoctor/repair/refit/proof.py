"""Whether a measure got better on held-out transitions, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
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


def gain(
    before: Tensor, after: Tensor, blocks: NDArray[np.int64], weights: Tensor | None = None
) -> Gain:
    """Return how much smaller the second loss is, row by row; all of shape (n,).

    Rows of one of the `blocks` are neighbours and alike, so each block counts once. `weights` say
    how much a row counts, all the same where there are none.
    """
    counts = (torch.ones(len(before)) if weights is None else weights).double().numpy()
    old, new = before.double().numpy(), after.double().numpy()
    mean = float(np.average(old - new, weights=counts))
    _, which = np.unique(blocks, return_inverse=True)
    apart = np.bincount(which, counts * (old - new - mean))
    error = float("inf")
    if len(apart) > 1:
        error = float(np.sqrt((apart**2).sum() * len(apart) / (len(apart) - 1)) / counts.sum())
    return Gain(
        float(np.average(old, weights=counts)),
        float(np.average(new, weights=counts)),
        mean - _QUANTILE * error,
        mean + _QUANTILE * error,
    )


def decisive(found: Mapping[str, Gain]) -> tuple[str, Gain]:
    """Return the first measure by which it is proven that something got better, with its gain.

    The next one is asked only where one says better and cannot prove it: not against its word. If
    nothing is proven, the first of all is returned.
    """
    for measure, one in found.items():
        if one.is_proven:
            return measure, one
        if not one.after < one.before:
            break
    return next(iter(found.items()))
