"""Signs that a training goes bad, each worked out from plain numbers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

LEAST_ACTION_STD = 0.2
"""Below this the actions hardly vary; in half ranges, so 1 is the distance from middle to bound.

A judgement. Healthy SAC, TD3 and PPO on Pendulum-v1 stay above 0.4, SAC on the trading environment
at 0.6; the uniform distribution has 0.58.
"""
ACTION_WINDOW = 1_000
"""So many actions are judged together: some episodes of most environments."""

CRASH_WINDOW = 10
"""So many episodes are averaged, before and after."""
CRASH_SPREADS = 3.0
"""A crash is a fall by so many standard deviations of an episode's return.

A judgement. With windows of 10 it is 6.7 standard errors of the difference; healthy PPO, DQN, SAC
and TD3 on CartPole-v1, Pendulum-v1 and the trading environment reached 2.2.
"""
LEAST_SPREAD = 0.05
"""Of the mean return's size: the least spread that returns are taken to have, as those of a solved
CartPole have none."""

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


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished episode: its number (the first is 0), the timesteps at its end, its return."""

    number: int
    timesteps: int
    value: float


@dataclass(frozen=True, slots=True)
class TrainingEvent:
    """Something that may explain what follows it: the warm-up's end, the first update, …"""

    name: str
    timesteps: int


@dataclass(frozen=True, slots=True)
class RewardCrash:
    """A fall of the mean return: from `before` (the best mean) to `after` (the latest).

    `episode` is the first episode of the fall, `timesteps` the model's timesteps at its end;
    `found_at` those at which enough episodes had been seen. `spreads` is the fall's size in
    standard deviations of an episode's return.
    """

    episode: int
    timesteps: int
    found_at: int
    before: float
    after: float
    spreads: float
    preceded_by: TrainingEvent | None = None


@dataclass(frozen=True, slots=True)
class HealthWarning:
    """One sign of trouble: reward-crash, action-std, entropy, growth or non-finite.

    `quantity` is what was measured, in SB3's name where it has one; `limit` what it should not
    have passed.
    """

    kind: str
    quantity: str
    timesteps: int
    value: float
    limit: float
    message: str


class CrashDetector:
    """Finds crashes in returns that come one by one.

    The mean of the last `window` returns is compared with the best mean of `window` returns
    before them. A crash is a fall by more than `spreads` times the larger standard deviation of
    the two windows, which is taken to be at least `LEAST_SPREAD` of the larger mean's size. After
    a crash nothing is reported until the mean has come back above that limit.

    Raises `ValueError` for a window below 2.
    """

    def __init__(self, window: int = CRASH_WINDOW, spreads: float = CRASH_SPREADS) -> None:
        if window < 2:
            raise ValueError(f"a window needs at least 2 episodes, got {window}")
        self._window = window
        self._spreads = spreads
        self._episodes: deque[Episode] = deque(maxlen=2 * window)
        self._best: tuple[float, float] | None = None  # mean and standard deviation
        self._fallen = False

    def add(self, episode: Episode) -> RewardCrash | None:
        """Take the next episode; return the crash that it completes."""
        self._episodes.append(episode)
        if len(self._episodes) < 2 * self._window:
            return None
        values = np.array([past.value for past in self._episodes])
        earlier, latest = values[: self._window], values[self._window :]
        if self._best is None or earlier.mean() > self._best[0]:
            self._best = float(earlier.mean()), float(earlier.std(ddof=1))
        best, best_spread = self._best
        mean = float(latest.mean())
        spread = max(
            best_spread, float(latest.std(ddof=1)), LEAST_SPREAD * max(abs(best), abs(mean))
        )
        was_fallen, self._fallen = self._fallen, best - mean > self._spreads * spread
        if was_fallen or not self._fallen:
            return None
        first = self._first_of_the_fall((best + mean) / 2.0)
        return RewardCrash(
            first.number, first.timesteps, episode.timesteps, best, mean, (best - mean) / spread
        )

    def _first_of_the_fall(self, middle: float) -> Episode:
        """The first of the latest episodes that all lie below `middle`."""
        first = self._episodes[-1]
        for episode in reversed(self._episodes):
            if episode.value >= middle:
                break
            first = episode
        return first


def reward_crashes(
    returns: Sequence[float], window: int = CRASH_WINDOW, spreads: float = CRASH_SPREADS
) -> tuple[RewardCrash, ...]:
    """Return the crashes in the returns of a whole run; see `CrashDetector`.

    Timesteps are counted in episodes here: the end of episode n is n + 1.
    """
    detector = CrashDetector(window, spreads)
    found = (detector.add(Episode(n, n + 1, value)) for n, value in enumerate(returns))
    return tuple(crash for crash in found if crash is not None)


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
