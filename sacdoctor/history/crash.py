"""Lasting falls of the return in a whole run: where, from which level to which.

A learner that is healthy and unstable falls, too, and comes back: DQN on CartPole drops from 500 to
10 and is at 500 again some updates later. What makes a fall a crash is that it stays. So a fall
counts where the run has not come back from it by its end, or not for a large part of it.

While a run goes on, `training.health` asks another question; `diagnosis.returns` says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.diagnosis import SPREADS, WINDOW, least_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERSISTENCE = 30
"""So many episodes after the fall, as far as they were played, must stay low in the median."""
FALLS = 5.0
"""A crash is also so many times the usual fall elsewhere in the run (the 84th percentile of its
falls). Where the level wanders, a fall by three spreads is nothing special."""
USUAL = 3.0
"""A collapse need only be so many times the usual fall: how it ends says more than how it began."""
LONG = 0.2
"""Of the run, in episodes and in timesteps: from a fall that is made up for, it came back so late.
A judgement: a stage of a curriculum, or some bad updates, take less."""
TOTAL = 30
"""So many episodes at the level of the untrained agent, up to the end, make a collapse that is
named whatever the returns' spread."""
OUTLASTS = 2.0
"""A collapse lasts so many times as long as the longest fall that the same run came back from."""
QUICK = 3.0
"""A collapse is quicker than a decline: the level after it stays so many times as long as the fall
took, and the level before it was held twice that long: a peak between two slopes was not."""
COMPARED = 50
"""Episodes before a fall and after it, as far as they were played, that are compared one by one."""
_SEPARATION = 0.85
"""Least probability that an episode before a fall is better than one after it. For two levels three
standard deviations apart it is 0.98; windows picked from returns that are good or bad at random
stay below 0.8 once as many episodes again are looked at."""
_NEAR = 0.25
"""Of the way between two levels: so close to one of them counts as being there."""
_BACK = 0.1
"""Of what had been learned: an agent that has kept no more of it is back where it began."""
_LOST = 0.5
"""Of what had been learned: an agent that has kept no more of it has lost most of it."""
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


class Fall(Struct, frozen=True):
    """A lasting fall between two levels (medians); `index` is that of the first low value."""

    index: int
    before: float
    after: float


class LowEnd(Struct, frozen=True):
    """So many values at a run's end are at the level `final`, far below the `best` before.

    From `since` on it was not near the best level any more.
    """

    since: int
    count: int
    best: float
    final: float


def needed(lag: int = 0) -> int:
    """Return from how many values on a series can be judged."""
    return 2 * WINDOW + lag


def falls(values: NDArray[Any], lag: int = 0, timesteps: NDArray[Any] | None = None) -> list[Fall]:
    """Return the crashes in a series of returns, shape (n,), in the order of time.

    `timesteps`, shape (n,), are those at the end of each value, 1, 2, … unless given. Where a
    running mean over `lag` values is what was logged, the values in which a fall takes place are
    left out between the windows that are compared.
    """
    if len(values) < needed(lag):
        return []
    steps = np.arange(1, len(values) + 1) if timesteps is None else timesteps
    level = np.median(np.lib.stride_tricks.sliding_window_view(values, WINDOW), axis=1)
    found = _steps_down(values, steps, lag, level)
    collapse = _collapse(values, steps, lag, level)
    if collapse is not None and all(abs(collapse - best) >= 2 * WINDOW + lag for best in found):
        found.append(collapse)
    return [_fall(values, best, lag, level) for best in sorted(found)]


def low_end(values: NDArray[Any], lag: int = 0) -> LowEnd | None:
    """Return how a run ends that has lost most of what it had learned, else None.

    It says nothing of whether that will stay: an unstable learner ends so whenever it is stopped
    in one of its falls. `falls` names those ends that nothing else in the same run explains.
    """
    if len(values) < needed(lag):
        return None
    level = np.median(np.lib.stride_tricks.sliding_window_view(values, WINDOW), axis=1)
    end = _end(values, lag, level, kept=_LOST)
    if end is None:
        return None
    count = len(values) - end.bottom - WINDOW // 2 + 1
    high = values[WINDOW // 2 :][: len(level)][level >= (end.best + end.final) / 2.0]
    if count < max(TOTAL, lag) or end.held < WINDOW:
        return None
    if _share_better(high, values[-count:]) < _SEPARATION:
        return None
    return LowEnd(end.start, count, end.best, end.final)


def _steps_down(
    values: NDArray[Any], steps: NDArray[Any], lag: int, level: NDArray[Any]
) -> list[int]:
    """Return where the level fell, lastingly and by far more than it does elsewhere in the run.

    The medians of `WINDOW` values before and after each point are compared. The scale is half the
    distance of the 16th and 84th percentile: one standard deviation where returns are normal,
    blind to single outliers, and wide where returns are either good or bad. It is the largest of
    the two windows' and the run's typical one.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)
    count = len(level) - WINDOW - lag
    low, high = np.percentile(windows, [_LOW, _HIGH], axis=1)
    spread = (high - low) / 2.0
    before, after = level[:count], level[WINDOW + lag :]
    drop = before - after
    scale = np.maximum(spread[:count], spread[WINDOW + lag :])
    scale = np.maximum(scale, np.median(spread[::WINDOW]))
    scale = np.maximum(scale, least_spread(before, after))
    if lag:
        scale = np.maximum(scale, _episode_spread(values, lag))
    found: list[int] = []
    candidates = np.flatnonzero(drop > SPREADS * scale)
    while len(candidates):
        best = int(candidates[np.argmax(drop[candidates])])
        if (
            drop[best] > FALLS * _usual_fall(drop, best, lag)
            and _lasts(values, steps, best, lag, level)
            and _are_separate(values, best, lag)
        ):
            found.append(best)
        # The points of one fall lie together.
        candidates = candidates[abs(candidates - best) >= 2 * WINDOW + lag]
    return found


def _collapse(
    values: NDArray[Any], steps: NDArray[Any], lag: int, level: NDArray[Any]
) -> int | None:
    """Return where a run that had learned fell back to where it began, for good; None if nowhere.

    Returns that vary as much as they are high (CartPole: 309 ± 135) never fall by three of their
    spreads, and where a learner falls often, no fall stands out. There it is the end that tells.
    """
    end = _end(values, lag, level)
    if end is None:
        return None
    stays = len(values) - end.bottom - WINDOW // 2 + 1
    fell = max(end.bottom - end.start - WINDOW // 2 - lag // 2, 0)  # a step takes half a window
    if stays < max(TOTAL, lag) or min(stays, end.held / 2.0) < max(WINDOW, QUICK * fell):
        return None  # too short to tell, or a slope
    if _came_back(end.is_low, steps, end.learned):
        return None
    drop = level[: -WINDOW - lag] - level[WINDOW + lag :]
    since = min(max(end.start - WINDOW, 0), len(drop) - 1)
    fall = since + int(np.argmax(drop[since : end.bottom + 1]))
    if drop[fall] < USUAL * _usual_fall(drop, fall, lag):
        return None
    if not lag:
        fall = max(end.start + _split(values[end.start : end.bottom + 2 * WINDOW]) - WINDOW, 0)
    return fall if _are_separate(values, fall, lag, end.learned) else None


class _End(Struct, frozen=True, eq=False):
    """How a run ends far below its best level, by the numbers of its windows.

    `best` and `final` are the levels that it fell from and to. `learned` is the first half way up
    to the best one, and `held` counts those. `start` is the last near the best level, `bottom` the
    first after it near the final one. `is_low` tells of each window whether it is near the final
    level, and of all from `bottom` on that they are.
    """

    best: float
    final: float
    learned: int
    held: int
    start: int
    bottom: int
    is_low: NDArray[Any]


def _end(values: NDArray[Any], lag: int, level: NDArray[Any], kept: float = _BACK) -> _End | None:
    """Return how a run ends; None where it never was better, or kept more of what it had learned.

    `kept` is the largest part of the way from its beginning to its best level that is left.
    """
    if len(values) < 2 * TOTAL + lag:
        return None
    began, final = float(np.median(values[: 2 * WINDOW])), float(np.median(values[-TOTAL:]))
    if level.max() <= final:
        return None
    best = float(np.median(level[level >= (level.max() + final) / 2.0]))
    reach, middle = best - final, (best + final) / 2.0
    noise = _episode_spread(values, lag) if lag else 0.0
    if reach <= max(SPREADS * least_spread(best, final), noise):
        return None
    if began < middle and final > began + kept * (best - began):
        return None
    is_low = level <= final + _NEAR * reach
    learned = np.flatnonzero(level >= middle)
    start = int(np.flatnonzero(level >= best - _NEAR * reach)[-1])
    if not is_low[start:].any():
        return None
    bottom = start + int(np.argmax(is_low[start:]))
    is_low[bottom:] = True
    return _End(best, final, int(learned[0]), len(learned), start, bottom, is_low)


def _came_back(is_low: NDArray[Any], steps: NDArray[Any], learned: int) -> bool:
    """Return whether the run came back from a fall that lasted half as long as the last one.

    `is_low` tells it of each window, the last ones too; `learned` is the first that was not low.
    Falls that were so long that they count as crashes are left out.
    """
    *earlier, (begin, end) = _stretches(is_low[learned:]) + learned
    lasted = [until - since for since, until in earlier if not _is_long(since, until, steps)]
    return bool(end - begin + WINDOW // 2 < OUTLASTS * max(lasted, default=0))


def _is_long(since: int, until: int, steps: NDArray[Any]) -> bool:
    """Return whether that many episodes are a large part of the run, and their timesteps too."""
    return bool(
        until - since >= LONG * len(steps) and steps[until] - steps[since] >= LONG * steps[-1]
    )


def _stretches(mask: NDArray[Any]) -> NDArray[Any]:
    """Return where each stretch of True in a mask begins and where it has ended, shape (n, 2)."""
    return np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)


def _are_separate(values: NDArray[Any], best: int, lag: int, since: int = 0) -> bool:
    """Return whether the returns before a fall, from `since` on, beat those after it."""
    start = best + WINDOW + lag
    before = values[max(best + WINDOW - COMPARED, since) : best + WINDOW]
    return _share_better(before, values[start : start + COMPARED]) >= _SEPARATION


def _share_better(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Return the probability that one of `before` is above one of `after`, equal ones half.

    It is Mann and Whitney's U, divided by the number of pairs.
    """
    if not (len(before) and len(after)):
        return 0.5
    pairs = before[:, None] - after[None, :]
    return float(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


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


def _lasts(
    values: NDArray[Any], steps: NDArray[Any], best: int, lag: int, level: NDArray[Any]
) -> bool:
    """Return whether a fall is not made up for by the end of the run, or late.

    It is made up for where a later level is above the middle of the two.
    """
    start = best + WINDOW + lag
    middle = (level[best] + level[start]) / 2.0
    if np.median(values[start : start + PERSISTENCE]) >= middle:
        return False
    back = np.flatnonzero(level[start:] >= middle)
    if not len(back):
        is_low = level <= level[start] + _NEAR * (level[best] - level[start])
        is_low[start:] = True
        return not _came_back(is_low, steps, int(np.argmax(level >= middle)))
    return _is_long(best + WINDOW, start + int(back[0]), steps)


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
