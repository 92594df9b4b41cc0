"""Lasting falls of the return in a whole run: where, from which level to which.

While a run goes on, `training.health` asks another question; `diagnosis.returns` says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sacdoctor.diagnosis import SPREADS, WINDOW, least_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERSISTENCE = 30
"""So many episodes after the fall, as far as they were played, must stay low in the median."""
FALLS = 5.0
"""A crash is also so many times the usual fall elsewhere in the run (the 84th percentile of its
falls). Where the level wanders, a fall by three spreads is nothing special."""
_LEFT = 0.05
"""Of a fall: by so much a running mean must have sunk to have begun to fall."""
SMOOTHING = 100
"""Episodes in SB3's `rollout/ep_rew_mean` (`stats_window_size`)."""
_STRIDE = 10
"""Episodes over which changes of a running mean are compared: the fewer, the likelier are rows in
which no episode ended; the more, the fewer changes there are to compare."""
_QUARTILES = 1.349
"""Distance of a normal distribution's quartiles, in standard deviations."""
_LOW, _HIGH = 16.0, 84.0
"""Percentiles one standard deviation from a normal distribution's middle."""


@dataclass(frozen=True, slots=True)
class Fall:
    """A lasting fall between two levels (medians); `index` is that of the first low value."""

    index: int
    before: float
    after: float


def needed(lag: int = 0) -> int:
    """Return from how many values on a series can be judged."""
    return 2 * WINDOW + lag


def falls(values: NDArray[Any], lag: int = 0) -> list[Fall]:
    """Return the crashes in a series of returns, shape (n,), in the order of time.

    The medians of `WINDOW` values before and after each point are compared. The scale is half the
    distance of the 16th and 84th percentile: one standard deviation where returns are normal,
    blind to single outliers, and wide where returns are either good or bad. It is the largest of
    the two windows' and the run's typical one. Where a running mean over `lag` values is what was
    logged, the values in which a fall takes place are left out between the windows.
    """
    count = len(values) - needed(lag) + 1
    if count < 1:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)
    level = np.median(windows, axis=1)
    low, high = np.percentile(windows, [_LOW, _HIGH], axis=1)
    spread = (high - low) / 2.0
    before, after = level[:count], level[WINDOW + lag :]
    drop = before - after
    scale = np.maximum(spread[:count], spread[WINDOW + lag :])
    scale = np.maximum(scale, np.median(spread[::WINDOW]))
    scale = np.maximum(scale, least_spread(before, after))
    if lag:
        scale = np.maximum(scale, _episode_spread(values, lag))
    found: list[Fall] = []
    candidates = np.flatnonzero(drop > SPREADS * scale)
    while len(candidates):
        best = int(candidates[np.argmax(drop[candidates])])
        if drop[best] > FALLS * _usual_fall(drop, best, lag) and _lasts(values, best, lag, level):
            found.append(_fall(values, best, lag, level))
        # The points of one fall lie together.
        candidates = candidates[abs(candidates - best) >= 2 * WINDOW + lag]
    return sorted(found, key=lambda fall: fall.index)


def _episode_spread(means: NDArray[Any], lag: int) -> float:
    """Return the standard deviation of an episode's return behind a running mean over `lag` rows.

    Over a stride of rows in which n episodes end, n of the 100 are exchanged. Two such changes in
    succession differ by √(4 n) / 100 standard deviations; a steady fall cancels out, and quartiles
    leave out where it begins and ends. Rows that repeat a value, as none ended, are left out.
    """
    different = means[np.flatnonzero(np.diff(means, prepend=np.nan))]
    episodes = SMOOTHING * len(means) / (lag * len(different))  # that end from one to the next
    stride = max(round(_STRIDE / episodes), 1)
    changes = different[stride:] - different[:-stride]
    differences = changes[stride:] - changes[:-stride]
    if not len(differences):
        return 0.0
    quarter, three_quarters = np.percentile(differences, [25.0, 75.0])
    deviation = float(three_quarters - quarter) / _QUARTILES
    return deviation * SMOOTHING / float(np.sqrt(4.0 * stride * episodes))


def _usual_fall(drop: NDArray[Any], best: int, lag: int) -> float:
    """Return how deep falls are elsewhere in the run, 0.0 where there is too little to tell."""
    away = abs(np.arange(len(drop)) - best) >= WINDOW + lag
    others = np.maximum(drop[away], 0.0)
    return float(np.percentile(others, _HIGH)) if len(others) >= 2 * WINDOW else 0.0


def _lasts(values: NDArray[Any], best: int, lag: int, level: NDArray[Any]) -> bool:
    start = best + WINDOW + lag
    middle = (level[best] + level[start]) / 2.0
    return bool(np.median(values[start : start + PERSISTENCE]) < middle)


def _fall(values: NDArray[Any], best: int, lag: int, level: NDArray[Any]) -> Fall:
    end = best + 2 * WINDOW + lag
    if lag:
        before, after = float(level[best]), float(level[best + WINDOW + lag])
        return Fall(best + _first_lower(values[best:end], before, after), before, after)
    cut = best + _split(values[best:end])
    return Fall(
        cut,
        float(np.median(values[max(cut - WINDOW, 0) : cut])),
        float(np.median(values[cut : cut + WINDOW])),
    )


def _split(values: NDArray[Any]) -> int:
    """Return where two constant levels fit best, by least absolute deviations."""
    costs = [
        abs(part - np.median(part)).sum()
        for cut in range(1, len(values))
        for part in (values[:cut], values[cut:])
    ]
    return 1 + int(np.argmin(np.add(costs[::2], costs[1::2])))


def _first_lower(values: NDArray[Any], before: float, after: float) -> int:
    """Return the first value from which on all have left the level before."""
    floor = before - _LEFT * (before - after)
    above = np.flatnonzero(values >= floor)
    return int(above[-1]) + 1 if len(above) else 0
