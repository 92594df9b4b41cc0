"""Signs that a training goes bad, each worked out from plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from gymnasium import spaces

LEAST_ACTION_STD = 0.2
"""Below this the actions hardly vary; in half ranges, so 1 is the distance from middle to bound.

A judgement. Healthy SAC, TD3 and PPO on Pendulum-v1 stay above 0.4, SAC on the trading environment
at 0.6; the uniform distribution has 0.58.
"""
ACTION_WINDOW = 1_000
"""So many actions are judged together: some episodes of most environments."""

GROWTH_FACTOR = 20.0
"""A loss or value so many times its running median explodes.

A judgement: SAC and TD3 on Pendulum-v1 reached 7.6.
"""
GROWTH_WINDOW = 1_000
"""So many updates the running median looks back over."""
GROWTH_RECENT = 20
"""So many updates have to agree: single batches stand out in every healthy training."""
GROWTH_LEAST = 100
"""So many updates are needed before the first judgement: values start near 0 and have to grow."""

SHARPE_WINDOW = 100
"""Episodes in the Sharpe ratio, as many as in SB3's `rollout/ep_rew_mean`."""

Array = npt.NDArray[Any]


def action_std(actions: Array, space: spaces.Box) -> float:
    """Return the standard deviation of actions, shape `(count, *space.shape)`, in half ranges.

    Averaged over the dimensions that have bounds on both sides; NaN where none has.
    """
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
    if not bounded.any():
        return math.nan
    spread = actions.reshape(len(actions), -1)[:, bounded].astype(np.float64).std(axis=0)
    half_range = (high[bounded].astype(np.float64) - low[bounded]) / 2.0
    return float((spread / half_range).mean())


def growth(values: Sequence[float], floor: float, recent: int = GROWTH_RECENT) -> float:
    """Return how many times the median of all earlier values the median of the `recent` ones is.

    Sizes are compared, not signs. `floor` is the least that counts as the earlier median.
    """
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    earlier = float(np.median(sizes[:-recent]))
    return float(np.median(sizes[-recent:])) / max(earlier, floor, np.finfo(np.float64).tiny)


def sharpe_ratio(returns: Iterable[float]) -> float:
    """Return mean over standard deviation of episode returns; NaN below two or without spread.

    Per episode, with a risk-free return of 0, not annualised (Sharpe 1994, "The Sharpe Ratio").
    """
    values = np.fromiter(returns, dtype=np.float64)
    if len(values) < 2:
        return math.nan
    spread = float(values.std(ddof=1))
    return float(values.mean()) / spread if spread > 0.0 else math.nan
