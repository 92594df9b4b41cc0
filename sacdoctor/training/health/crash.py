"""Crashes of the return, found while a training runs: each episode decides, by the past alone.

Of a run that is over, `history` asks another question; `diagnosis.returns` says which.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from sacdoctor.diagnosis import LEVEL, STANDARD_ERRORS, least_spread

Array = npt.NDArray[Any]


class Episode(Struct, frozen=True):
    """A finished episode: its number (the first is 0), the timesteps at its end, its return."""

    number: int
    timesteps: int
    value: float


class TrainingEvent(Struct, frozen=True):
    """Something that may explain what follows it: the warm-up's end, the first update, …"""

    name: str
    timesteps: int


class RewardCrash(Struct, frozen=True):
    """A fall of the mean return: from `before` (the best mean) to `after` (the latest).

    `episode` is the first episode of the fall, `timesteps` the model's timesteps at its end;
    `found_at` those at which enough episodes had been seen. `standard_errors` is the fall's size in
    standard errors of the difference of the two means.
    """

    episode: int
    timesteps: int
    found_at: int
    before: float
    after: float
    standard_errors: float
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


KEPT = 0.25
"""Of what had been learned: an agent that has kept more of it has had a setback, not a crash."""


class CrashDetector:
    """Finds crashes in returns that come one by one.

    The mean of the last `window` returns is compared with the best mean of `window` returns before
    them. A crash is a fall by more than `standard_errors` of the difference of the two means (each
    return taken to vary by at least `least_spread`) that

    - lasts: each of the last `window` returns is below the middle of the two means, and there were
      never as many low ones in a row from which the run came back;
    - loses what was learned: where the first returns were low too, no more than `KEPT` of the way
      from them to the best mean is left.

    After a crash nothing is reported until the mean has come back above the middle.

    Raises `ValueError` for a window below 2.
    """

    def __init__(self, window: int = LEVEL, standard_errors: float = STANDARD_ERRORS) -> None:
        if window < 2:
            raise ValueError(f"a window needs at least 2 episodes, got {window}")
        self._window = window
        self._limit = standard_errors
        self._numbers, self._timesteps = array("q"), array("q")
        self._returns = array("d")
        self._best: tuple[float, float] | None = None  # mean and standard deviation
        self._fallen_below: float | None = None

    def add(self, episode: Episode) -> RewardCrash | None:
        """Take the next episode; return the crash that it completes.

        One whose return is not finite is left out: no mean says anything of it.
        """
        if not math.isfinite(episode.value):
            return None
        self._numbers.append(episode.number)
        self._timesteps.append(episode.timesteps)
        self._returns.append(episode.value)
        if len(self._returns) < 2 * self._window:
            return None
        values = np.array(self._returns[-2 * self._window :])
        earlier, latest = values[: self._window], values[self._window :]
        if self._best is None or earlier.mean() > self._best[0]:
            self._best = float(earlier.mean()), float(earlier.std(ddof=1))
        best, mean = self._best[0], float(latest.mean())
        if self._fallen_below is not None:
            if mean <= self._fallen_below:
                return None
            self._fallen_below = None
        errors = (best - mean) / self._standard_error(self._best, latest)
        middle = (best + mean) / 2.0
        if errors <= self._limit or latest.max() >= middle:
            return None
        low = _stretches(np.array(self._returns) < middle)
        if not (self._lost_what_it_learned(best, mean) and _is_longest(low)):
            return None
        self._fallen_below = middle
        first = int(low[-1, 0])
        return RewardCrash(
            self._numbers[first], self._timesteps[first], episode.timesteps, best, mean, errors
        )

    def _standard_error(self, best: tuple[float, float], latest: Array) -> float:
        """Return that of the difference of the best mean and that of the latest returns."""
        mean, deviation = best
        least = float(least_spread(mean, latest.mean()))
        spreads = max(deviation, least), max(float(latest.std(ddof=1)), least)
        return math.hypot(*spreads) / math.sqrt(self._window) or 1.0

    def _lost_what_it_learned(self, best: float, mean: float) -> bool:
        began = float(np.mean(self._returns[: self._window]))
        return began >= (best + mean) / 2.0 or mean <= began + KEPT * (best - began)


def _stretches(low: Array) -> Array:
    """Return where each stretch of True begins and where it has ended, shape (n, 2).

    One that the run began with is left out: nothing had been learned yet.
    """
    ends = np.flatnonzero(np.diff(low.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    return ends[1:] if len(ends) > 1 and ends[0, 0] == 0 else ends


def _is_longest(stretches: Array) -> bool:
    lengths = stretches[:, 1] - stretches[:, 0]
    return bool(lengths[-1] >= lengths.max())


def reward_crashes(
    returns: Sequence[float],
    window: int = LEVEL,
    standard_errors: float = STANDARD_ERRORS,
) -> tuple[RewardCrash, ...]:
    """Return the crashes in the returns of a whole run; see `CrashDetector`.

    Timesteps are counted in episodes here: the end of episode n is n + 1.
    """
    detector = CrashDetector(window, standard_errors)
    found = (detector.add(Episode(n, n + 1, value)) for n, value in enumerate(returns))
    return tuple(crash for crash in found if crash is not None)
