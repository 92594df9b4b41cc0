"""Do outcomes follow the stored actions? Finds a head of stored actions that never happened.

SB3 stores the action that it sampled. Where the environment carried out another one, rewards and
next observations do not depend on what is stored. The question is put to pairs of transitions whose
observations are alike: if the actions made the outcomes, outcomes differ as the actions do.

1. From the last part of the buffer a linear model learns how far outcomes differ with observations
   and actions within such pairs. Differences between neighbours keep a policy, whose actions follow
   the observation, from passing for the cause. The outcome that actions explain best, judged on
   pairs that the model has not seen, is used: the reward or a component of the observation.
2. Each transition's outcome is predicted as if its stored action had been carried out, and as if it
   had not.
   The place where the sum of log likelihood ratios turns is the end of the head (the maximum
   likelihood estimate of one change point, Hinkley 1970), first on a sample, then on every row
   around it.
3. A head is reported only where all of this holds: the slope of outcomes on the model's action term
   is about 1 in the last part and right behind the boundary, and about 0 in the head, each with a
   small standard error; many of the head's transitions speak clearly for themselves; and in the
   head no outcome differs more where the stored actions do, which needs no model. Everything else
   is left unaccused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacdoctor.checkpoint.replay_buffer import ReplayBuffer
from sacdoctor.diagnosis.forced_head import ForcedHead

SAMPLED = 3000
PER_NUMBER = 12
"""Transitions that are looked at, spread over the buffer: so many, and more where a transition has
many numbers to learn about."""
LATE = (1 / 3, 1 / 2, 2 / 3)
"""Shares of the buffer, at its end, from which the model is learned: the first that will do. At the
very end a settled policy may leave nothing to learn from."""
FEWEST_LATE, FEWEST_HEAD = 90, 30
"""Sampled transitions below which nothing is said."""
MAX_OBSERVED = 512
"""Numbers in an observation; in more, no two observations are alike."""
MAX_CHOICES = 64
"""Discrete actions that are told apart."""
EXPLAINED = 0.5
"""The least share of the outcome's spread that actions must explain, on unseen pairs."""
NEAR_ONE, NEAR_ZERO, ERRORS = 0.5, 0.2, 8.0
"""How far a slope may be from 1 and from 0, and how many standard errors must lie between."""
RANK_LEVEL = 4.0
"""Standard normal quantile of the model-free test: a chance of 3 in 100,000 per outcome."""
CLEAR, CLEAR_NATS = 0.25, 3.0
"""Share of the head's transitions that must speak for themselves, each at odds of e^3, 20 to 1:
where all are vague, a boundary is too. A judgement, as are the numbers above."""
NATS = 10.0
"""Boundaries less likely than the best by e^-10, 1 in 22,000, are left out of the interval: the
likelihoods are only as good as a linear model."""

_NEGLIGIBLE = 1e-6
"""Share of an outcome's spread that single precision may leave by rounding."""
_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Table:
    """Transitions in order of time: their rows' age, observation, action terms and outcomes."""

    time: NDArray[np.int64]
    observed: Floats
    action: Floats
    outcome: Floats

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> _Table:
        return _Table(
            self.time[which], self.observed[which], self.action[which], self.outcome[which]
        )

    def __len__(self) -> int:
        return len(self.time)


_Pairs = tuple[_Table, _Table]


@dataclass(frozen=True, slots=True)
class _Model:
    """How one outcome differs with observations and actions; the transitions it compares with."""

    column: int
    by_observed: Floats
    by_action: Floats
    reference: _Table
    scale: float

    def parts(self, first: _Table, second: _Table) -> tuple[Floats, Floats]:
        """Return what observations leave of the outcome's difference, and the action's share."""
        difference = (first.outcome - second.outcome)[:, self.column]
        left = difference - (first.observed - second.observed) @ self.by_observed
        return left, (first.action - second.action) @ self.by_action


def ignored_head(buffer: ReplayBuffer) -> tuple[ForcedHead | None, str | None]:
    """Return the head whose stored actions were not carried out, or why none can be told.

    Both are None where outcomes follow the stored actions from the first transition on.
    """
    reason = _unsuited(buffer)
    if reason is not None:
        return None, reason
    reader = _Reader(buffer)
    wanted = max(SAMPLED, PER_NUMBER * (len(reader.names) + reader.simple_terms))
    step = max(1, buffer.transitions // wanted)
    table = reader.table(np.arange(0, buffer.size, step))
    if len(table) < FEWEST_LATE + FEWEST_HEAD:
        return None, f"{buffer.transitions:,} transitions are too few to tell"
    parts = (table[table.time >= buffer.size * (1 - share)] for share in LATE)
    learnt = next(filter(None, (_learn(part, reader.simple_terms) for part in parts)), None)
    if learnt is None:
        return None, (
            "outcomes cannot be foretold from stored actions well enough, not even at the end of "
            "the buffer, so whether the first ones were carried out cannot be told"
        )
    end, _, latest = _boundary(learnt[0], table, buffer.size)
    if end == 0:
        return None, None
    # Once it is roughly known, all behind it is learned from: that is closer to the head.
    model, held_out = _learn(table[table.time >= latest], reader.simple_terms) or learnt
    end, earliest, latest = _boundary(model, table, buffer.size)
    fine = reader.table(np.arange(max(0, end - 2 * step), min(buffer.size, end + 2 * step)))
    head = table[table.time < earliest]
    if len(head) < FEWEST_HEAD:
        return None, None
    if step > 1:
        forced = _compared(model, head).forced(len(head), model.scale)
        end, earliest, latest = _boundary(model, fine, int(fine.time[-1]) + 1, forced)
    head, behind = table[table.time < earliest], table[table.time >= latest]
    if not _is_ignored(model, head, _following(fine, behind, latest), held_out):
        return None, _doubt(model, head, buffer.n_envs)
    slope, error = _slope(model, _paired(head))
    late, late_error = _slope(model, held_out)
    n = buffer.n_envs
    return (
        ForcedHead(
            transitions=end * n,
            rows=latest,
            stored="varied",
            action=None,
            earliest=earliest * n,
            latest=latest * n,
            evidence=(
                f"between transitions from like observations, {reader.names[model.column]} follows "
                f"the stored action with slope {slope:.2f} ± {2 * error:.2f} in the head and "
                f"{late:.2f} ± {2 * late_error:.2f} later (0: not at all; 1: as it does at the end)"
            ),
        ),
        None,
    )


def _doubt(model: _Model, head: _Table, n_envs: int) -> str | None:
    """Return what can be said of a head that was not clear enough to report, None for nothing."""
    if len(head) < FEWEST_HEAD:
        return None
    slope, error = _slope(model, _paired(head))
    if abs(slope - 1) <= NEAR_ONE and slope >= ERRORS * error:
        return None
    return (
        f"outcomes seem to follow the stored actions only from about transition "
        f"{int(head.time[-1] + 1) * n_envs:,} on, but not clearly enough to say so"
    )


def _unsuited(buffer: ReplayBuffer) -> str | None:
    """Return why a buffer does not lend itself to the question, None where it does."""
    observed = 0
    for name in buffer.observation_names:
        array = buffer.arrays[name]
        if array.dtype.kind not in "biuf":
            return f"{name} are no real numbers"
        observed += array[0, 0].size
    if observed > MAX_OBSERVED:
        return (
            f"an observation has {observed:,} numbers (an image?), so no two are alike: whether "
            "stored actions were carried out cannot be told"
        )
    if buffer.size < 2:
        return f"{buffer.transitions:,} transitions are too few to tell"
    return None


class _Reader:
    """Reads transitions of a buffer as one table of numbers, scaled by one and the same spread."""

    def __init__(self, buffer: ReplayBuffer) -> None:
        self._buffer = buffer
        sample = np.arange(0, buffer.size, max(1, buffer.size // 512))
        observed = self._observations(sample, "observations")
        self._spread = observed.reshape(-1, observed.shape[2]).std(axis=0)
        self._spread[~(self._spread > 0)] = np.inf
        names = ["the reward"]
        for name in buffer.observation_names:
            width = buffer.arrays[name][0, 0].size
            what = name.removeprefix("observations").removeprefix(".") or "the observation"
            names += [f"component {i} of {what}" for i in range(width)]
        self.names = names
        actions = buffer.arrays["actions"]
        self._choices = (
            _distinct(buffer.take("actions", sample))[:MAX_CHOICES]
            if actions.dtype.kind != "f"
            and actions.reshape(len(actions), -1).shape[1] == buffer.n_envs
            else None
        )
        width = actions.reshape(len(actions), buffer.n_envs, -1).shape[2]
        self.simple_terms = width if self._choices is None else len(self._choices) - 1

    def table(self, times: NDArray[np.int64]) -> _Table:
        """Return the transitions of these rows, all environments, without what is not finite."""
        buffer = self._buffer
        shared = buffer.optimize_memory_usage
        if shared and buffer.full:
            times = times[times > 0]  # its observation was overwritten by the newest next one
        observed = self._observations(times, "observations")
        following = (
            self._observations(times + 1, "observations")
            if shared
            else self._observations(times, "next_observations")
        )
        reward = self._read("rewards", times)[:, :, :1]
        action = self._terms(self._read("actions", times), observed)
        age = np.repeat(times, buffer.n_envs)
        change = following - observed
        columns = [array.reshape(len(age), -1) for array in (observed, action, reward, change)]
        usable = np.all([np.isfinite(column).all(axis=1) for column in columns], axis=0)
        if shared:  # the next row holds the next episode's first observation, not the last one
            usable &= self._read("dones", times).reshape(-1) == 0
        age, (observed, action, reward, change) = age[usable], [c[usable] for c in columns]
        return _Table(age, observed, action, np.concatenate((reward, change), axis=1))

    def _observations(self, times: NDArray[np.int64], which: str) -> Floats:
        parts = [
            self._read(which + name.removeprefix("observations"), times)
            for name in self._buffer.observation_names
        ]
        joined = np.concatenate(parts, axis=2)
        return joined / self._spread if hasattr(self, "_spread") else joined

    def _read(self, name: str, times: NDArray[np.int64]) -> Floats:
        taken = self._buffer.take(name, times)
        return taken.reshape(len(taken), self._buffer.n_envs, -1).astype(np.float64)

    def _terms(self, action: Floats, observed: Floats) -> Floats:
        """Return what an action may contribute: itself, its square, itself times observations.

        Discrete actions are one column per choice.
        """
        if self._choices is not None:
            action = (action == self._choices[1:]).astype(np.float64)
            terms = [action]
        else:
            terms = [action, action**2]
        products = action[..., :, None] * observed[..., None, :]
        if products[0, 0].size <= 32:
            terms.append(products.reshape(*action.shape[:2], -1))
        return np.concatenate(terms, axis=2)


def _learn(part: _Table, simple: int) -> tuple[_Model, _Pairs] | None:
    """Return the model of the outcome that actions explain best, and the pairs it has not seen.

    It uses the first `simple` action terms alone, unless all of them leave less than half as much:
    an agent that repeats itself does not tell them apart. None where no outcome is explained well
    enough.
    """
    halves = part[::2], part[1::2]
    width, terms = part.observed.shape[1], part.action.shape[1]
    if len(halves[0]) < max(FEWEST_LATE / 2, 2 * (width + simple)):
        return None
    seen, unseen = map(_paired, halves)
    best: tuple[float, int, Floats] | None = None
    for used in (simple, terms):
        if len(halves[0]) < 2 * (width + used):
            break
        coefficients, left, rest = _fit(seen, unseen, used)
        column = int(np.divide(rest, left, out=np.ones_like(rest), where=left > 0).argmin())
        share = float(rest[column] / left[column]) if left[column] > 0 else 1.0
        if best is None or share < best[0] / 2:
            best = share, column, coefficients[:, column]
    if best is None or best[0] > 1 - EXPLAINED:
        return None
    _, column, solution = best
    by_observed = solution[:width]
    by_action = np.append(solution[width:], np.zeros(width + terms - len(solution)))
    model = _Model(column, by_observed, by_action, halves[0], 1.0)
    errors = np.abs(_compared(model, halves[1]).if_executed)
    floor = _NEGLIGIBLE * float(np.abs((unseen[0].outcome - unseen[1].outcome)[:, column]).max())
    return replace(model, scale=max(_middle(errors) * _NORMAL, floor)), unseen


def _fit(seen: _Pairs, unseen: _Pairs, terms: int) -> tuple[Floats, Floats, Floats]:
    """Return coefficients of observations and action terms, shape `(both, outcomes)`, and what is
    left of the unseen pairs' outcomes without and with the action, as sums of squares.

    What is left without is 0 where observations alone foretell an outcome down to rounding.
    """
    design, outcome = _differences(seen, terms)
    other, truth = _differences(unseen, terms)
    width = design.shape[1] - terms
    alone, whole = _solve(design[:, :width], outcome), _solve(design, outcome)
    left = ((truth - other[:, :width] @ alone) ** 2).sum(axis=0)
    rest = ((truth - other @ whole) ** 2).sum(axis=0)
    left[left <= _NEGLIGIBLE * (truth**2).sum(axis=0)] = 0.0
    return whole, left, rest


def _differences(pairs: _Pairs, terms: int) -> tuple[Floats, Floats]:
    first, second = pairs
    observed, action = first.observed - second.observed, first.action - second.action
    return np.concatenate((observed, action[:, :terms]), axis=1), first.outcome - second.outcome


def _solve(terms: Floats, outcome: Floats) -> Floats:
    """Return least squares coefficients, shape `(terms, outcomes)`."""
    return np.asarray(np.linalg.lstsq(terms, outcome, rcond=1e-9)[0], np.float64)


def _nearest(points: Floats, among: Floats, *, itself: bool) -> NDArray[np.int64]:
    """Return the index of the nearest of `among` for each point; `itself`: not the point itself."""
    points, among = points.astype(np.float32), among.astype(np.float32)
    squares = (among**2).sum(axis=1)
    found = np.empty(len(points), np.int64)
    for at in range(0, len(points), 512):
        distances = squares - 2 * points[at : at + 512] @ among.T
        if itself:
            rows = np.arange(len(distances))
            distances[rows, at + rows] = np.inf
        found[at : at + 512] = distances.argmin(axis=1)
    return found


def _paired(table: _Table) -> _Pairs:
    """Return each transition with the one whose observation is nearest, every pair once."""
    numbers = np.arange(len(table))
    nearest = _nearest(table.observed, table.observed, itself=True)
    once = (numbers < nearest) | (nearest[nearest] != numbers)
    return table[numbers[once]], table[nearest[once]]


def _slope(model: _Model, pairs: _Pairs) -> tuple[float, float]:
    """Return how far outcomes follow the action term, and the standard error.

    Least squares through the origin; the error is robust to unequal spreads (White 1980).
    """
    left, by_action = model.parts(*pairs)
    power = float((by_action**2).sum())
    if not power > 0:
        return 0.0, np.inf
    slope = float((left * by_action).sum()) / power
    return slope, sqrt(float((((left - slope * by_action) * by_action) ** 2).sum())) / power


@dataclass(frozen=True, slots=True)
class _Compared:
    """How far each outcome is from its prediction by the nearest reference transition."""

    if_executed: Floats
    if_forced: Floats

    def forced(self, stop: int, least: float) -> tuple[float, float]:
        """Return centre and spread of the first `stop` outcomes, taken for those of forced
        actions."""
        centre = _middle(self.if_forced[:stop])
        return centre, max(_middle(np.abs(self.if_forced[:stop] - centre)) * _NORMAL, least)

    def log_ratio(self, scale: float, centre: float, spread: float) -> Floats:
        """Return for each transition how much likelier its outcome is if its action was forced."""
        forced = _log_likelihood(self.if_forced - centre, spread)
        return forced - _log_likelihood(self.if_executed, scale)


def _compared(model: _Model, table: _Table) -> _Compared:
    reference = model.reference
    near = reference[_nearest(table.observed, reference.observed, itself=False)]
    left, by_action = model.parts(table, near)
    return _Compared(left - by_action, left + near.action @ model.by_action)


def _boundary(
    model: _Model, table: _Table, stop: int, forced: tuple[float, float] | None = None
) -> tuple[int, int, int]:
    """Return the most likely first row whose action was carried out, the earliest and the latest.

    `stop` stands for none. `forced` are centre and spread of forced outcomes; without them they are
    estimated, starting from all outcomes.
    """
    compared = _compared(model, table)
    times = np.append(table.time, stop)
    rounds = 1
    if forced is None:
        spread = float(compared.if_forced.std())
        forced = _middle(compared.if_forced), max(spread, model.scale)
        rounds = 4
    for _ in range(rounds):
        ratio = compared.log_ratio(model.scale, *forced)
        total = np.concatenate(([0.0], np.cumsum(ratio)))
        # A boundary lies between rows, and all environments of a row belong together.
        total[1:-1][table.time[1:] == table.time[:-1]] = -np.inf
        best = int(total.argmax())
        if rounds > 1 and best >= FEWEST_HEAD:
            forced = compared.forced(best, model.scale)
    likely = times[np.flatnonzero(total >= total[best] - NATS)]
    return int(times[best]) if best else 0, int(likely[0]), int(likely[-1])


# numpy's own median and unique import its masked arrays, which takes as long as all the rest.


def _distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values that occur, in order."""
    ordered = np.sort(values, axis=None)
    distinct: NDArray[Any] = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return distinct


def _middle(values: Floats) -> float:
    """Return the median."""
    ordered = np.sort(values)
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _log_likelihood(errors: Floats, scale: float) -> Floats:
    """Return Student's t log density with 2 degrees of freedom: single outliers decide nothing."""
    density: Floats = -np.log(scale) - 1.5 * np.log1p((errors / scale) ** 2 / 2)
    return density


def _following(fine: _Table, behind: _Table, latest: int) -> _Table:
    """Return transitions from right behind the boundary: as many as the tests need."""
    near = fine[fine.time >= latest]
    return near if len(near) >= 2 * FEWEST_HEAD else behind[: 4 * FEWEST_HEAD]


def _is_ignored(model: _Model, head: _Table, following: _Table, held_out: _Pairs) -> bool:
    """Return whether the evidence is strong enough: see step 3 at the top of this file."""
    if len(head) < FEWEST_HEAD or len(following) < FEWEST_HEAD:
        return False
    for pairs in (held_out, _paired(following)):
        slope, error = _slope(model, pairs)
        if abs(slope - 1) > NEAR_ONE or slope < ERRORS / 2 * error:
            return False
    pairs = _paired(head)
    slope, error = _slope(model, pairs)
    if abs(slope) > NEAR_ZERO or 1 - slope < ERRORS * error:
        return False
    compared = _compared(model, head)
    ratio = compared.log_ratio(model.scale, *compared.forced(len(head), model.scale))
    if float((ratio > CLEAR_NATS).mean()) < CLEAR:
        return False
    return bool((_rank_dependence(pairs) < RANK_LEVEL).all())


def _rank_dependence(pairs: _Pairs) -> Floats:
    """Return, per outcome, how clearly it differs more where stored actions differ more.

    Over pairs of like observations: the partial rank correlation of both differences given the
    distance of the observations, in standard errors (Spearman; normal for many pairs).
    """
    first, second = pairs
    apart = _ranks(np.abs(first.observed - second.observed).sum(axis=1))
    actions = _ranks(np.abs(first.action - second.action).sum(axis=1))
    outcomes = np.abs(first.outcome - second.outcome)
    found = []
    for column in range(outcomes.shape[1]):
        partial = _without(_ranks(outcomes[:, column]), apart)
        rest = _without(actions, apart)
        power = sqrt(float((partial**2).sum() * (rest**2).sum()))
        found.append(float((partial * rest).sum()) / power * sqrt(len(apart)) if power > 0 else 0.0)
    return np.array(found)


def _ranks(values: Floats) -> Floats:
    """Return centred ranks, ties in one rank."""
    ordered = np.sort(values)
    ranks = (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")) / 2
    centred: Floats = ranks - ranks.mean()
    return centred


def _without(values: Floats, by: Floats) -> Floats:
    """Return what a straight line on `by` leaves of `values`, both centred."""
    power = float((by**2).sum())
    return values - by * float((values * by).sum()) / power if power > 0 else values
