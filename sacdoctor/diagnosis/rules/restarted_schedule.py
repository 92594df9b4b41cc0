"""Schedules that began anew while the training went on.

## What it does
`sacdoctor history` compares the last checkpoint of one call of `learn()` with the first of the call
that went on with it, where the updates (`_n_updates`) went on. It reports

- the share of random actions (`exploration_rate` of DQN and QR-DQN) that rose by more than 0.05
  (warning);
- a learning rate that a schedule had brought down within the earlier call and that rose by more
  than half (warning);
- the same share where `rollout/exploration_rate` rose by so much from one row of a `progress.csv`
  to the next, if the checkpoints do not tell it (warning);
- timesteps that were counted from 0 again by an algorithm that then acts at random for
  `learning_starts` steps once more, at least a tenth of those until then (notice).

## Why is this bad
SB3's schedules follow the share of `total_timesteps` that is left, and `learn()` sets the count
back to 0 unless it is told not to. So the agent that had learned to act acts at random again, fills
its buffer with that, and is updated at the rate of its beginning.

## Example
`model = DQN.load("model", env=env); model.learn(100_000)`: from an exploration rate of 0.05 back
to 1.

## Use instead
`model.learn(100_000, reset_num_timesteps=False)`. The schedule stretches over all timesteps
together then: a linear rate goes on from the share that is left.

## Fix safety
No fix: what was learned from random actions is in the weights. Go on from the checkpoint before.

## References
- stable_baselines3/common/base_class.py: `_setup_learn`, `_update_current_progress_remaining`
- stable_baselines3/dqn/dqn.py: `_on_step`
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from sacdoctor.diagnosis.log_facts import LogFacts, LoggedRow
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.run_facts import Moment, RunFacts
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

EXPLORATION = 0.05
"""By how much exploration must rise: as much as the share of random actions that DQN keeps."""
RATE = 1.5
"""How many times its last value a rate must be: Adam's steps are as many times as long."""
RANDOM_STEPS = 0.1
"""Of the steps until then: fewer random ones are few in the buffer."""
_CONSTANT = 1.001


def check(run: RunFacts) -> Iterator[Finding]:
    """Yield one finding over all restarts of a run, the worst of the first first."""
    found = [told for before, after in _calls(run) for told in _restarts(run, before, after)]
    if not found:
        return
    severity, what = max(found, key=lambda told: told[0].rank)
    again = len({text for _, text in found}) - 1
    yield RULE.finding(
        severity,
        what + (f"; {again:,} more such restart{'s' if again > 1 else ''}" if again else ""),
        evidence="the updates went on; learn() began anew with its schedules",
        remedy="To go on with a training: `learn(…, reset_num_timesteps=False)`.",
    )


def check_log(log: LogFacts) -> Iterator[Finding]:
    """Yield one finding over all rows of a log in which exploration began anew."""
    rows = [row for row in log.rows if row.exploration is not None]
    found = [(before, after) for before, after in pairwise(rows) if _began_anew(before, after)]
    if not found:
        return
    before, after = found[0]
    again = len(found) - 1
    yield RULE.finding(
        Severity.WARNING,
        f"exploration began anew, from {before.exploration:.3g} to {after.exploration:.3g}, after "
        f"{before.timesteps:,} steps"
        + (f"; {again:,} more such restart{'s' if again > 1 else ''}" if again else ""),
        evidence=f"the updates went on, from {before.updates:,.0f} to {after.updates:,.0f}; "
        "learn() began anew with its schedules",
        remedy="To go on with a training: `learn(…, reset_num_timesteps=False)`.",
    )


def _began_anew(before: LoggedRow, after: LoggedRow) -> bool:
    """Return whether exploration rose while the same model's updates went on."""
    rose = (after.exploration or 0.0) - (before.exploration or 0.0) > EXPLORATION
    return rose and 0 < (before.updates or 0) <= (after.updates or 0)


def _calls(run: RunFacts) -> Iterator[tuple[Moment, Moment]]:
    """Yield the last checkpoint of each call and the first of the call that went on with it."""
    for before, after in pairwise(run.moments):
        is_other = None not in (before.call, after.call) and before.call != after.call
        if is_other and 0 < before.updates <= after.updates:
            yield before, after


def _restarts(run: RunFacts, before: Moment, after: Moment) -> Iterator[tuple[Severity, str]]:
    at = f"between {before.steps:,} and {after.steps:,} steps"
    if None not in (before.exploration, after.exploration):
        was, now = before.exploration or 0.0, after.exploration or 0.0
        if now - was > EXPLORATION:
            text = f"exploration began anew, from {was:.3g} to {now:.3g}, {at}"
            yield Severity.WARNING, text
            return
    was, now = before.rate or 0.0, _first_rate(run, before, after)
    if was > 0.0 and now > RATE * was and _had_fallen(run, before):
        yield Severity.WARNING, f"the learning rate began anew, from {was:.3g} to {now:.3g}, {at}"
        return
    is_random = after.random_steps >= max(1.0, RANDOM_STEPS * before.steps)
    if after.timesteps < before.timesteps and is_random:
        yield (
            Severity.NOTICE,
            f"learn() acted at random for {after.random_steps:,} steps once more, {at}",
        )


def _first_rate(run: RunFacts, before: Moment, after: Moment) -> float:
    """Return the rate of the first updates after a restart, 0 where none is known.

    Optimizers keep the old one until then, through the random steps.
    """
    later = (m for m in run.moments if m.call == after.call and m.updates > before.updates)
    return next((m.rate or 0.0 for m in later), 0.0)


def _had_fallen(run: RunFacts, last: Moment) -> bool:
    """Return whether the rate came down within the call that a checkpoint is the last of."""
    rates = [m.rate for m in run.moments if m.call == last.call and m.rate is not None]
    return max(rates, default=0.0) > _CONSTANT * (last.rate or 0.0)


RULE = Rule(
    code="SD804",
    name="restarted-schedule",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(RunFacts, check), Check(LogFacts, check_log)),
)
