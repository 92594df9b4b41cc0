"""One pass over the transitions of a replay buffer: what rules about its integrity need.

Flags, rewards and finiteness are looked at in every row. Of observations that take much room,
blocks of neighbouring rows are compared, spread evenly over the buffer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacdoctor.diagnosis.buffer_facts import (
    Episodes,
    Feature,
    NonFiniteArray,
    RewardJump,
    Row,
    Rows,
    StoredTransitions,
    Succession,
)
from sacdoctor.diagnosis.unrelated import unrelated
from sacdoctor.replay import ReplayBuffer

MOST_COMPARED = 24 * 1024**2
"""Bytes of observations that are compared with one another; a buffer of more is sampled."""
BLOCKS = 48
"""Blocks of neighbouring rows that a sample consists of."""
_PIECE = 2 * 1024**2
"""Bytes of an array that are looked at in one go."""
_FEW = 3
"""Rows that are named."""
ROUNDING = 0.01
"""Standard deviations by which two observations may differ and be the same: some agents keep them
in another precision, or normalise the same one twice."""
VARIED = 64
"""Values of one number above which the observation is no place in a grid."""
LONGEST_RETURN = 64
"""Rows between an observation and its next one that n-step returns, or environments that are
stored in turn, may lie apart."""
PIECES, FEWEST_REWARDS = 64, 32
"""Parts of the buffer whose rewards are compared, and the rewards in one that tell its scale."""
MOST_ALIKE = 4
"""Episodes of each environment that must end on either side of a jump: fewer may start alike."""
NEAR = 4
"""Parts on either side of a jump, between which it shows, too: what grows step by step does not."""
QUANTILES = (0.1, 0.5, 0.9, 1.0)
SPREADS = np.array([10.0, 3.0, 1.0, 1.0])
"""By which factor each may change less than the scale does: the lower ones vary from part to part,
with what an agent happens to do. A judgement, from Pendulum's."""
MOST_FEATURES = 4096
"""Numbers of an observation, above which it is an image."""
_JUDGED = frozenset(
    ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
)
_FINE = 0.9
"""Share of the breaks that a cut at one length must explain."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@np.errstate(all="ignore")  # what is not finite is a finding of its own
def measured(buffer: ReplayBuffer, path: Path, head: int = 0) -> StoredTransitions:
    """Return what rules look at in a buffer, which was read from `path`.

    `head`: the rows at its start whose outcomes seem not to follow the stored actions.
    """
    flags = _Flags.of(buffer)
    observed = _Observed(buffer, flags, head)
    for start, stop in _blocks(buffer):
        observed.add(start, stop)
    size, jump = _rewards(buffer, flags.ends)
    return StoredTransitions(
        transitions=buffer.transitions,
        environments=buffer.n_envs,
        looked_at=observed.rows * buffer.n_envs,
        is_sb3s=buffer.is_sb3s,
        shares=buffer.optimize_memory_usage,
        is_normalised=any(_beside(path)),
        non_finite=tuple(_non_finite(buffer)),
        succession=observed.succession(),
        episodes=observed.episodes(),
        features=tuple(observed.features()),
        size=size,
        jump=jump,
        unrelated=unrelated(buffer, flags.ends),
        frozen_head=observed.frozen_head(),
    )


def _beside(path: Path) -> Iterator[Path]:
    """Yield the statistics of VecNormalize near a buffer: in its folder, the one above, and, as
    rl-zoo keeps them, one below."""
    name = "*[vV]ec*[nN]orm*.pkl"
    for folder, pattern in (
        (path.parent, name),
        (path.parent.parent, name),
        (path.parent, f"*/{name}"),
    ):
        yield from folder.glob(pattern)


# -- numbers that are not finite ---------------------------------------------------------------


def _non_finite(buffer: ReplayBuffer) -> Iterator[NonFiniteArray]:
    for name, array in buffer.arrays.items():
        if name.partition(".")[0] not in _JUDGED or array.dtype.kind != "f":
            continue
        # The row behind the newest one holds its next observation.
        behind = buffer.optimize_memory_usage and name in buffer.observation_names
        stop = min(buffer.size + behind, buffer.capacity)
        count, first = 0, None
        step = max(1, _PIECE // max(1, array[0].nbytes))
        for at in range(0, stop, step):
            rows = buffer.origin.read(array[at : min(at + step, stop)])
            if not _is_finite(rows):
                bad = np.argwhere(~np.isfinite(rows))
                count += len(bad)
                if first is None and len(bad):
                    first = (at + int(bad[0][0]), *(int(i) for i in bad[0][1:]))
        if first is not None:
            yield NonFiniteArray(name, count, first)


def _is_finite(rows: NDArray[Any]) -> bool:
    """Return whether all are finite; False where only a closer look can tell."""
    if rows.dtype.itemsize < 4 or not rows.flags.c_contiguous:
        return False
    flat = rows.reshape(-1)
    return bool(np.isfinite(np.dot(flat, flat)))  # 0 · NaN is NaN; as fast as memory is


# -- episodes ----------------------------------------------------------------------------------


class _Flags(NamedTuple):
    """Per row in order of time and environment: `dones`, and ends that are marked as cut."""

    dones: Bools | None
    timeouts: Bools
    ends: Bools

    @classmethod
    def of(cls, buffer: ReplayBuffer) -> _Flags:
        def read(name: str) -> Bools | None:
            if name not in buffer.arrays:
                return None
            rows = [piece != 0 for piece in buffer.rows(name, 0, buffer.size)]
            return np.concatenate(rows).reshape(buffer.size, buffer.n_envs)

        dones, timeouts = read("dones"), read("timeouts")
        none = np.zeros((buffer.size, buffer.n_envs), np.bool_)
        cut = none if timeouts is None else timeouts
        return cls(dones, cut, cut if dones is None else cut | dones)


def _lengths(ends: Bools) -> dict[int, int]:
    """Return how many whole episodes have which length; the first one may have begun earlier."""
    found: Counter[int] = Counter()
    for env in range(ends.shape[1]):
        found.update(np.diff(np.flatnonzero(ends[:, env])).tolist())
    return dict(found.most_common(8))


# -- observations ------------------------------------------------------------------------------


def _blocks(buffer: ReplayBuffer) -> Iterator[tuple[int, int]]:
    """Yield which neighbouring rows are compared, from time to time."""
    size = buffer.whole.stop
    per_row = sum(buffer.arrays[name][0].nbytes for name in buffer.observation_names)
    most = max(BLOCKS * 2, MOST_COMPARED // max(1, per_row))
    if size <= most:
        step = max(2, most // BLOCKS)
        yield from ((at, min(at + step, size)) for at in range(buffer.whole.start, size, step))
        return
    step = most // BLOCKS
    for at in np.linspace(buffer.whole.start, size - step, BLOCKS).astype(np.int64).tolist():
        yield at, at + step


class _Observed:
    """What is gathered about observations, block by block."""

    def __init__(self, buffer: ReplayBuffer, flags: _Flags, head: int) -> None:
        self._buffer, self._flags, self._head = buffer, flags, head
        self.rows = 0
        self._compared = self._resumable = 0
        self._found: dict[str, list[Row]] = {}
        self._counts: Counter[str] = Counter()
        self._gaps: list[int] = []
        self._lagging: list[bool] = []
        self._values = 0
        floats = [n for n in buffer.observation_names if buffer.arrays[n].dtype.kind == "f"]
        self._measured = [n for n in floats if buffer.arrays[n][0, 0].size <= MOST_FEATURES]
        self._moments = {n: _Moments() for n in self._measured}
        self._at_ends = {n: _Moments() for n in self._measured}

    def add(self, start: int, stop: int) -> None:
        """Look at the rows from `start` up to `stop`, in order of time."""
        buffer = self._buffer
        behind = min(stop + 1, buffer.size)
        same, still, jumps = self._comparisons(start, stop, behind)
        self.rows += stop - start
        rows = len(same)
        if not rows:
            return
        ends = self._flags.ends[start : start + rows]
        dones = self._flags.dones
        going_on = ~ends
        self._compared += int(going_on.sum())
        broken = going_on & ~same & jumps
        aliased = broken & still
        in_head = going_on & (np.arange(start, start + rows) < self._head)[:, None]
        self._counts["head"] += int(in_head.sum())
        self._counts["frozen head"] += int((in_head & still).sum())
        self._note("aliased", start, aliased)
        self._note("still", start, going_on & still & same)
        self._note("broken", start, broken)
        if dones is not None and not buffer.optimize_memory_usage:
            done = dones[start : start + rows]
            self._resumable += int(done.sum())
            self._note("continued", start, done & same & ~still)
        self._gaps += _gaps(ends, broken)

    def _comparisons(self, start: int, stop: int, behind: int) -> tuple[Bools, Bools, Bools]:
        """Return of all rows but the last, per environment: whether the next observation is that
        of the next row, whether it is the observation itself, and whether it is far from the next
        row's."""
        buffer = self._buffer
        rows = behind - 1 - start
        same = np.ones((rows, buffer.n_envs), np.bool_)
        still, jumps = same.copy(), np.zeros_like(same)
        for name in buffer.observation_names:
            observed = self._read(name, start, behind)
            following = observed[1:]
            if not buffer.optimize_memory_usage:
                following = self._read("next_" + name, start, start + rows)
                equal = _equal(following, observed[1:])
                same &= equal
                if not equal.all():
                    jumps |= _far(following, observed[1:])
            still &= _equal(following, observed[:-1])
            if name in self._moments:
                self._moments[name].add(observed[: stop - start].reshape(-1, observed.shape[2]))
                ends = self._flags.ends[start : start + len(following)]
                self._at_ends[name].add(following[ends])
                if start == buffer.whole.start:
                    self._values = max(self._values, _most_values(observed[:4096]))
        if start == buffer.whole.start and not same.all():
            self._lagging = _lags(buffer, self._read, rows)
        return same, still, jumps

    def _read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        pieces = [*self._buffer.rows(name, start, stop)]
        joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return joined.reshape(len(joined), self._buffer.n_envs, -1)

    def _note(self, what: str, start: int, where: Bools) -> None:
        self._counts[what] += int(np.count_nonzero(where))
        found = self._found.setdefault(what, [])
        if len(found) < _FEW and self._counts[what]:
            places = np.argwhere(where)[: _FEW - len(found)].tolist()
            found += [(self._buffer.row_of(start + time), env) for time, env in places]

    def _rows(self, what: str) -> Rows:
        return Rows(self._counts[what], tuple(self._found.get(what, ())))

    def succession(self) -> Succession:
        """Return how the rows that were looked at follow one another."""
        return Succession(
            compared=self._compared,
            broken=self._rows("broken"),
            aliased=self._rows("aliased"),
            still=self._rows("still"),
            is_varied=self._values >= VARIED,
            is_constant=self._values == 1 and sum(len(m.means) for m in self._moments.values()) > 1,
            is_explained=self._is_explained(),
        )

    def frozen_head(self) -> float:
        """Return the share of the head in which the next observation is the observation."""
        return self._counts["frozen head"] / max(1, self._counts["head"])

    def _is_explained(self) -> bool:
        buffer = self._buffer
        if any(self._lagging):
            return True
        if not buffer.is_sb3s and self._counts["broken"] > _FINE * max(1, self._compared):
            return True  # a data set that was shuffled, for all that can be told
        longest = max(self._gaps, default=0)
        cut = sum(gap == longest for gap in self._gaps)
        return longest > 1 and cut >= _FINE * len(self._gaps)

    def episodes(self) -> Episodes | None:
        """Return where episodes end, None where that is not stored."""
        dones = self._flags.dones
        if dones is None:
            return None
        return Episodes(
            transitions=self._buffer.transitions,
            dones=int(dones.sum()),
            timeouts=int(self._flags.timeouts.sum()),
            lengths=_lengths(self._flags.ends),
            continued=self._rows("continued"),
            resumable=self._resumable,
            tells_time=self._tells_time(),
            keeps_timeouts=self._buffer.handle_timeout_termination,
        )

    def _tells_time(self) -> bool:
        for name, moments in self._moments.items():
            deviations, ends = moments.deviations(), self._at_ends[name].deviations()
            if len(ends) and bool(((deviations > 0) & (ends < 1e-3 * deviations)).any()):
                return True
        return False

    def features(self) -> Iterator[Feature]:
        """Yield mean and deviation of each number of the observations that is no image's."""
        for name, moments in self._moments.items():
            what = name.removeprefix("observations").removeprefix(".")
            deviations = moments.deviations()
            for i, deviation in enumerate(deviations.tolist()):
                place = f"observations[{what!r}][…, {i}]" if what else f"observations[…, {i}]"
                yield Feature(place, float(moments.means[i]), deviation)


class _Moments:
    """Means and deviations of columns, gathered block by block (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.count: Floats | float = 0.0
        self.means: Floats = np.zeros(0)
        self._squares: Floats = np.zeros(0)

    def add(self, values: NDArray[Any]) -> None:
        """Take rows of numbers in; what is not finite is left out."""
        if not len(values):
            return
        values = values.astype(np.float64)
        bad = ~np.isfinite(values)
        if bad.any():
            values = values[~bad.any(axis=1)]
            if not len(values):
                return
        count, means = float(len(values)), values.mean(axis=0)
        squares = values.var(axis=0) * count
        if not len(self.means):
            self.count, self.means, self._squares = count, means, squares
            return
        total, apart = self.count + count, means - self.means
        self._squares = self._squares + squares + apart**2 * self.count * count / total
        self.means = self.means + apart * count / total
        self.count = total

    def deviations(self) -> Floats:
        """Return the standard deviation of each column."""
        return np.sqrt(self._squares / self.count) if len(self.means) else np.zeros(0)


def _equal(first: NDArray[Any], second: NDArray[Any]) -> Bools:
    """Return, per row and environment, whether all numbers are the same; NaN equals NaN."""
    if first.dtype != second.dtype or first.dtype.itemsize > 8:
        same: Bools = (first == second).all(axis=2)
        return same
    bits = f"u{first.dtype.itemsize}"
    equal: Bools = (first.view(bits) == second.view(bits)).all(axis=2)
    return equal


def _far(first: NDArray[Any], second: NDArray[Any]) -> Bools:
    """Return where two observations differ by more than rounding, against how they vary."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    spread = b.reshape(-1, b.shape[2]).std(axis=0)
    far: Bools = (np.abs(a - b) > ROUNDING * spread).any(axis=2)
    return far


def _most_values(observed: NDArray[Any]) -> int:
    """Return how many values the number takes that takes most of them."""
    columns = np.sort(observed.reshape(-1, observed.shape[2])[:4096], axis=0)
    return int((columns[1:] != columns[:-1]).sum(axis=0).max(initial=0)) + 1


def _lags(buffer: ReplayBuffer, read: Any, rows: int) -> list[bool]:
    """Return whether next observations are those of so many rows on, from 2 rows on."""
    used = min(rows, 512)
    found: list[bool] = []
    for lag in range(2, LONGEST_RETURN + 1):
        if used - lag < LONGEST_RETURN // 2:
            break
        equal = np.ones((used - lag, buffer.n_envs), np.bool_)
        for name in buffer.observation_names:
            following = read("next_" + name, 0, used - lag)
            equal &= _equal(following, read(name, lag, used))
        still = _equal(following, read(name, 0, used - lag)).mean()
        found.append(bool(equal.mean() > 0.5 and still < 0.5))
    return found


def _gaps(ends: Bools, broken: Bools) -> list[int]:
    """Return how many steps lie between each break and the end, or break, before it."""
    gaps: list[int] = []
    for env in range(broken.shape[1]):
        stops = np.flatnonzero(ends[:, env] | broken[:, env])
        gaps += np.diff(stops)[broken[stops[1:], env]].tolist()
    return gaps


# -- rewards -----------------------------------------------------------------------------------


def _rewards(buffer: ReplayBuffer, ends: Bools) -> tuple[float, RewardJump | None]:
    """Return the root mean square of the rewards, and the place where their scale jumps."""
    squares, count = 0.0, 0
    wanted = max(1, min(PIECES, buffer.transitions // (2 * FEWEST_REWARDS)))
    edges = np.linspace(0, buffer.size, wanted + 1).astype(np.int64)
    quantiles: list[Floats] = []
    starts: list[int] = []
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        pieces = [p.reshape(-1) for p in buffer.rows("rewards", start, stop)]
        if not pieces:
            continue
        rewards = np.abs(np.concatenate(pieces).astype(np.float64))
        rewards = rewards[np.isfinite(rewards)]
        squares += float(rewards @ rewards)
        count += len(rewards)
        rewards = np.sort(rewards[rewards > 0][:4096])
        if len(rewards) >= FEWEST_REWARDS:
            places = [int(q * (len(rewards) - 1)) for q in QUANTILES]
            quantiles.append(rewards[places])
            starts.append(start)
    size = (squares / count) ** 0.5 if count else 0.0
    return size, _jump(buffer, np.array(quantiles), starts, ends) if quantiles else None


def _jump(
    buffer: ReplayBuffer, quantiles: Floats, starts: list[int], ends: Bools
) -> RewardJump | None:
    """Return the greatest change of all quantiles at once, abrupt and lasting.

    A change in some of them alone is an agent that learns, or meets its goal for the first time;
    one over many parts is growth. Within an episode rewards may fall for good, as where a pendulum
    stands at last, so several must have ended on either side. The part in which the scale changes
    is passed over.
    """
    best: RewardJump | None = None
    ended = np.concatenate(([0], np.cumsum(ends.sum(axis=1))))
    for at in range(2, len(starts) - 2):
        row = starts[at]
        if min(ended[row], ended[-1] - ended[starts[at + 1]]) < MOST_ALIKE * buffer.n_envs:
            continue
        before, after = quantiles[:at], quantiles[at + 1 :]
        largest = float(after[:, -1].max() / before[:, -1].max())
        near = SPREADS[1] * _change(before[-NEAR:], after[:NEAR])  # of few parts
        ratio = min(_change(before, after), near, max(largest, 1 / largest))
        if ratio > 1 and (best is None or ratio > best.ratio):
            large = float(np.median(before[:, 2])), float(np.median(after[:, 2]))
            best = RewardJump(buffer.row_of(row), *large, ratio)
    return best


def _change(before: Floats, after: Floats) -> float:
    """Return the least factor by which all quantiles grew, or shrank, but for their spread."""
    factors = np.median(after, axis=0) / np.median(before, axis=0)
    return float(max((SPREADS * factors).min(), (SPREADS / factors).min()))
