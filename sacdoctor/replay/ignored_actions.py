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
   is about 1 in the last part and right behind the boundary, and about 0 in the head and at its
   very end, each with a small standard error; there no outcome differs more where the stored
   actions do, which needs no model; the head's transitions speak for it on average, and the
   boundary's interval is narrow. Everything else is left unaccused.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from sacdoctor.replay.buffer import ReplayBuffer
from sacdoctor.replay.forced_head import Doubt, ForcedHead
from sacdoctor.replay.outcome_model import (
    FEWEST,
    OutcomeModel,
    Pairs,
    compare,
    learn,
    median,
    paired,
    slope_of,
)
from sacdoctor.replay.transitions import Floats, TransitionReader, Transitions

SAMPLED = 2000
PER_NUMBER = 12
"""Transitions that are looked at, spread over the buffer: so many, more where a transition has many
numbers to learn about, and a sixth more towards the head."""
LATE = (1 / 3, 1 / 2, 2 / 3)
"""Shares of the buffer, at its end, from which the model is learned: the first that will do. At the
very end a settled policy may leave nothing to learn from."""
FEWEST_HEAD = 30
"""Sampled transitions of the head below which nothing is said."""
MAX_OBSERVED = 512
"""Numbers in an observation; in more, no two observations are alike."""
NEAR_ONE, NEAR_ZERO, ERRORS = 0.5, 0.2, 8.0
"""How far a slope may be from 1 and from 0, and how many standard errors must lie between."""
RANK_LEVEL = 4.0
"""Standard normal quantile of the model-free test: a chance of 3 in 100,000 per outcome."""
CLEAR = 0.5
"""Nats by which a transition of the head must speak for it on average. A judgement, as are the
numbers above."""
WIDEST, WIDEST_SHARE = 20, 0.1
"""Rows, or share of the head where that is more, over which the boundary may be uncertain."""
NATS = 10.0
"""Boundaries less likely than the best by e^-10, 1 in 22,000, are left out of the interval: the
likelihoods are only as good as a linear model."""


@np.errstate(all="ignore")  # what overflows is left out
def ignored_head(buffer: ReplayBuffer) -> tuple[ForcedHead | None, Doubt | None]:
    """Return the head whose stored actions were not carried out, or why none can be told.

    Both are None where outcomes follow the stored actions from the first transition on.
    """
    reason = _unsuited(buffer)
    if reason is not None:
        return None, Doubt(reason)
    reader = TransitionReader(buffer)
    wanted = max(SAMPLED, PER_NUMBER * (len(reader.names) + reader.simple_terms))
    step = max(1, buffer.transitions // wanted)
    table = reader.table(_sample(buffer.size, step))
    if len(table) < FEWEST + FEWEST_HEAD:
        return None, Doubt(f"{buffer.transitions:,} transitions are too few to tell")
    parts = (table[table.time >= buffer.size * (1 - share)] for share in LATE)
    learnt = next(filter(None, (learn(part, reader.simple_terms) for part in parts)), None)
    if learnt is None:
        return None, Doubt(
            "the stored actions do not predict rewards or observations well enough, not even at "
            "the end of the buffer, so whether the first ones were carried out cannot be told"
        )
    end, _, latest = _boundary(learnt[0], table, buffer.size)
    if end == 0:
        return None, None
    # Once it is roughly known, all behind it is learned from: that is closer to the head.
    model, held_out = learn(table[table.time >= latest], reader.simple_terms) or learnt
    end, earliest, latest = _boundary(model, table, buffer.size)
    fine = reader.table(np.arange(max(0, end - 2 * step), min(buffer.size, end + 2 * step)))
    head = table[table.time < earliest]
    if len(head) < FEWEST_HEAD:
        return None, None
    if step > 1:
        forced = compare(model, head).forced(len(head), model.scale)
        end, earliest, latest = _boundary(model, fine, int(fine.time[-1]) + 1, forced)
    head, behind = table[table.time < earliest], table[table.time >= latest]
    # A boundary that leaves the rows around it when all are looked at (end 0) is none.
    narrow = end > 0 and latest - earliest <= max(WIDEST, WIDEST_SHARE * end)
    if not narrow or not _is_ignored(model, head, _following(fine, behind, latest), held_out):
        return None, _doubt(model, head, buffer.n_envs)
    slope, error = slope_of(model, paired(head))
    late, late_error = slope_of(model, held_out)
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


def _sample(size: int, step: int) -> NDArray[np.int64]:
    """Return rows spread evenly over `size`, denser at the head: it may be a small part."""
    if step == 1:
        return np.arange(size)
    early = np.geomspace(1, size, SAMPLED // 6).astype(np.int64) - 1
    return np.array(sorted({*range(0, size, step), *early.tolist()}))


def _doubt(model: OutcomeModel, head: Transitions, n_envs: int) -> Doubt | None:
    """Return what can be said of a head that was not clear enough to report, None for nothing."""
    if len(head) < FEWEST_HEAD:
        return None
    slope, error = slope_of(model, paired(head))
    if abs(slope - 1) <= NEAR_ONE and slope >= ERRORS * error:
        return None
    boundary = int(head.time[-1] + 1) * n_envs
    return Doubt(
        f"outcomes seem to follow the stored actions only from about transition {boundary:,} on, "
        "but not clearly enough to say so",
        boundary,
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


def _boundary(
    model: OutcomeModel, table: Transitions, stop: int, forced: tuple[float, float] | None = None
) -> tuple[int, int, int]:
    """Return the most likely first row whose action was carried out, the earliest and the latest.

    `stop` stands for none. `forced` are centre and spread of forced outcomes; without them they are
    estimated, starting from all outcomes.
    """
    compared = compare(model, table)
    times = np.append(table.time, stop)
    rounds = 1
    if forced is None:
        spread = float(compared.if_forced.std())
        forced = median(compared.if_forced), max(spread, model.scale)
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


def _following(fine: Transitions, behind: Transitions, latest: int) -> Transitions:
    """Return transitions from right behind the boundary: as many as the tests need."""
    near = fine[fine.time >= latest]
    return near if len(near) >= 2 * FEWEST_HEAD else behind[: 4 * FEWEST_HEAD]


def _is_ignored(
    model: OutcomeModel, head: Transitions, following: Transitions, held_out: Pairs
) -> bool:
    """Return whether the evidence is strong enough: see step 3 at the top of this file."""
    if len(head) < FEWEST_HEAD or len(following) < FEWEST_HEAD:
        return False
    for pairs in (held_out, paired(following)):
        slope, error = slope_of(model, pairs)
        if abs(slope - 1) > NEAR_ONE or slope < ERRORS / 2 * error:
            return False
    # The whole head would hide a last part in which actions were carried out, and an end too late.
    for part in (head, head[-4 * FEWEST_HEAD :], head[-2 * FEWEST_HEAD :]):
        pairs = paired(part)
        slope, error = slope_of(model, pairs)
        if abs(slope) > NEAR_ZERO or 1 - slope < ERRORS * error:
            return False
        if not (_rank_dependence(pairs) < RANK_LEVEL).all():
            return False
    compared = compare(model, head)
    ratio = compared.log_ratio(model.scale, *compared.forced(len(head), model.scale))
    return float(ratio.mean()) >= CLEAR


def _rank_dependence(pairs: Pairs) -> Floats:
    """Return, per outcome, how clearly it differs more where stored actions differ more.

    Over pairs of like observations: the partial rank correlation of both differences given the
    distance of the observations and how far out they lie, where rewards and a policy's choices may
    both spread more; in standard errors (Spearman; normal for many pairs).
    """
    first, second = pairs
    apart = _ranks(np.abs(first.observed - second.observed).sum(axis=1))
    middle = first.observed + second.observed
    outlying = _without(_ranks(((middle - middle.mean(axis=0)) ** 2).sum(axis=1)), apart)
    actions = _ranks(np.abs(first.action - second.action).sum(axis=1))
    rest = _without(_without(actions, apart), outlying)
    outcomes = np.abs(first.outcome - second.outcome)
    found = []
    for column in range(outcomes.shape[1]):
        partial = _without(_without(_ranks(outcomes[:, column]), apart), outlying)
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
