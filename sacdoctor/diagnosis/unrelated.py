"""Whether what a replay buffer says came of its transitions follows from them at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sacdoctor.diagnosis.buffer_facts import Unrelated
from sacdoctor.replay import ReplayBuffer, TransitionReader, Transitions, learn, nearest

SAMPLED, FEWEST = 1500, 300
"""Transitions that are looked at, spread over the buffer, and the fewest that tell anything."""
WIDEST = 24
"""Numbers in an observation: among more, no two of 1,500 are alike."""
ALIKE = 0.3
"""Distance of like transitions, as a share of that of any two; else none are alike."""
SHARE = 0.9
"""Difference of the outcomes of like transitions, as a share of that of any two. 1 where nothing
follows from anything, with a standard error of 0.03; in healthy agents' buffers one outcome at
least, and mostly all, are below a half."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def unrelated(buffer: ReplayBuffer, ends: Bools) -> Unrelated | None:
    """Return how outcomes fail to follow from the stored transition, None where they do.

    `ends` says per row in order of time and environment whether an episode ends there. Nothing is
    said of observations that no sample can cover, nor where half of the steps are an end, as in a
    bandit.
    """
    width = sum(buffer.arrays[name][0, 0].size for name in buffer.observation_names)
    floats = all(buffer.arrays[name].dtype.kind == "f" for name in buffer.observation_names)
    if width > WIDEST or not floats or buffer.transitions < FEWEST or ends.mean() > 0.5:
        return None
    rows = max(SAMPLED // buffer.n_envs, 1)
    times = np.unique(np.linspace(1, buffer.whole.stop - 1, rows).astype(np.int64))
    goes_on = ~(ends[times] | ends[times - 1]).any(axis=1)
    times = times[goes_on & (times - 1 >= buffer.whole.start)]
    reader = TransitionReader(buffer)
    table = reader.table(times)
    if len(table) < FEWEST:
        return None
    share = _share(table, width, reader.simple_terms)
    if share is not None and share > SHARE:
        return Unrelated(len(table), share, follows_last=False)
    if _follows_last(reader, table, times):
        return Unrelated(len(table), 0.0, follows_last=True)
    return None


def _share(table: Transitions, width: int, simple: int) -> float | None:
    """Return how far outcomes of like transitions differ, against those of any two.

    Of all outcomes that vary, the reward and each number of the next observation, the least. None
    where no transitions are alike.
    """
    points = np.concatenate((table.observed, _standard(table.action[:, :simple])), axis=1)
    alike = nearest(points, points, itself=True)
    other = np.random.default_rng(0).permutation(len(points))
    near = _between(points, alike).sum(axis=1).mean()
    if not near < ALIKE * _between(points, other).sum(axis=1).mean():
        return None
    following = table.observed + table.outcome[:, 1:]
    outcomes = np.concatenate((table.outcome[:, :1], following), axis=1)
    varied = outcomes[:, np.ptp(outcomes, axis=0) > 0]
    if not varied.shape[1] or np.ptp(following, axis=0).max() == 0:
        return None
    like, of_any = (_between(varied, to).mean(axis=0) for to in (alike, other))
    return float((like / np.where(of_any > 0, of_any, np.inf)).min())


def _follows_last(reader: TransitionReader, table: Transitions, times: NDArray[np.int64]) -> bool:
    """Return whether outcomes follow the action of the row before, and not their own."""
    before = reader.table(times - 1)
    simple = reader.simple_terms
    if len(before) != len(table) or learn(table, simple) is not None:
        return False
    shifted = Transitions(table.time, table.observed, before.action[:, :simple], table.outcome)
    return learn(shifted, simple) is not None


def _between(points: Floats, to: NDArray[np.int64]) -> Floats:
    return np.abs(points - points[to])


def _standard(values: Floats) -> Floats:
    spread = values.std(axis=0)
    return values / np.where(spread > 0, spread, 1.0)
