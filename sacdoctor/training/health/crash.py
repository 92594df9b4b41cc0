"""Crashes of the return, found while a training runs: each episode decides, by the past alone.

Of a run that is over, `history` asks another question; `diagnosis.returns` says which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sacdoctor.diagnosis import SPREADS, WINDOW, least_spread


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

    def __str__(self) -> str:
        told = (
            f"rewards crashed in episode {self.episode:,} (step {self.timesteps:,}): the mean "
            f"return fell from {self.before:.4g} to {self.after:.4g}"
        )
        if self.preceded_by is None:
            return told
        ago = self.timesteps - self.preceded_by.timesteps
        return f"{told}, {ago:,} steps after the {self.preceded_by.name}"


class CrashDetector:
    """Finds crashes in returns that come one by one.

    The mean of the last `window` returns is compared with the best mean of `window` returns
    before them. A crash is a fall by more than `spreads` times the larger standard deviation of
    the two windows, which is taken to be at least `least_spread`. After a crash nothing is reported
    until the mean has come back above that limit.

    Raises `ValueError` for a window below 2.
    """

    def __init__(self, window: int = WINDOW, spreads: float = SPREADS) -> None:
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
        spread = max(best_spread, float(latest.std(ddof=1)), float(least_spread(best, mean)))
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
    returns: Sequence[float], window: int = WINDOW, spreads: float = SPREADS
) -> tuple[RewardCrash, ...]:
    """Return the crashes in the returns of a whole run; see `CrashDetector`.

    Timesteps are counted in episodes here: the end of episode n is n + 1.
    """
    detector = CrashDetector(window, spreads)
    found = (detector.add(Episode(n, n + 1, value)) for n, value in enumerate(returns))
    return tuple(crash for crash in found if crash is not None)
