"""How far Adam can move a parameter in so many updates, whatever the gradients were.

A step moves it by at most rate · |m̂| ÷ √v̂ (Kingma and Ba 2015, algorithm 1). By Cauchy and Schwarz
|m| ≤ K √v with K = (1 − β₁) ÷ √((1 − β₂)(1 − β₁² ÷ β₂)): 7.3 for β = (0.9, 0.999). Gradients can
keep that up only while they grow, and then v grows with them. Over T steps

    Σ |gₜ| ÷ √vₜ ≤ √T · √Σ gₜ² ÷ vₜ ≤ √T · √((T ln(1 ÷ β₂) + ln(v_T ÷ v₀)) ÷ (1 − β₂)),

as (1 − β₂) gₜ² ÷ vₜ = 1 − β₂ vₜ₋₁ ÷ vₜ ≤ ln(vₜ ÷ (β₂ vₜ₋₁)) (Défossez et al. 2020, "A Simple
Convergence Proof of Adam and Adagrad", lemma 5.2). Momentum averages the gradients, which costs a
factor (1 − β₁) ÷ (1 − β₁ ÷ √β₂) = 1.0045, and what it held before the first step, which costs K ÷
(1 − β₁ ÷ √β₂) − K more. Both v₀ and v_T stand in the checkpoints. So the limit has no free number:
with steady gradients it is T times the rate.
"""

from __future__ import annotations

from math import log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def reach(
    rate: float,
    updates: float,
    betas: tuple[float, float],
    before: NDArray[Any],
    after: NDArray[Any],
) -> NDArray[np.float64]:
    """Return the furthest that each element can have moved, of the shape of `before`.

    `before` and `after` are its second moments; where the first is 0, only K limits each step.
    `betas` are such that `is_bounded` holds.
    """
    first, second = betas
    ratio = first / sqrt(second)
    steepest = (1.0 - first) / sqrt((1.0 - second) * (1.0 - ratio**2))
    with np.errstate(all="ignore"):
        growth = np.log(np.maximum(after.astype(np.float64) / before, 1.0))
    growth = np.where(before > 0, growth, np.inf)
    squares = updates * (updates * log(1.0 / second) + growth) / (1.0 - second)
    carried = steepest * ratio / (1.0 - ratio)
    steady = (1.0 - first) / (1.0 - ratio) * np.sqrt(squares)
    limit: NDArray[np.float64] = rate * np.minimum(steepest * updates, carried + steady)
    return limit


def is_bounded(betas: tuple[float, float]) -> bool:
    """Return whether the limit holds for these: momentum is shorter than the second moment's mean.

    The last condition keeps Adam's bias correction, √(1 − β₂ᵗ) ÷ (1 − β₁ᵗ), at or below 1.
    """
    first, second = betas
    return 0.0 <= first < second < 1.0 and 1.0 - second <= (1.0 - first) ** 2 * (1.0 + 1e-9)
