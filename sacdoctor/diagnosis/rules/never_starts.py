"""Updates, or updates of the target or the actor, that begin after the run's end.

## What it does
Compares the steps that the run was to take (`_total_timesteps`) with `learning_starts`, with DQN's
and QR-DQN's `target_update_interval`, and with TD3's and CrossQ's `policy_delay`, and the counters
in the file with both: only what has not begun yet, and will not in this run, is reported.

That such a model was never trained is not said once more.

## Why is this bad
Before `learning_starts` actions are random and nothing is learned. A target network that is not
updated once stays as random as it began, and Q learns its values. SB3's default interval for DQN is
10,000 steps: in a run of 5,000 that is never.

## Example
`DQN("MlpPolicy", "CartPole-v1").learn(5_000)`.

## Use instead
A `learning_starts` of a tenth of the run or less; a `target_update_interval` that comes a hundred
times in a run (rl-zoo: 10 for CartPole, 250 for LunarLander); or a longer run.

## Fix safety
No fix: what was not learned is not in the file.

## References
- SB3: `_on_step` in stable_baselines3/dqn/dqn.py, `learn` in common/off_policy_algorithm.py
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

_EPSILON = ("DQN", "QRDQN")
_DELAYED = ("TD3", "CrossQ")


class _Late(NamedTuple):
    key: str
    what: str
    advice: str


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding for what the run was too short for."""
    facts = examination.facts
    settings = facts.checkpoint.hyperparameters
    steps, total = settings.integer("num_timesteps"), settings.integer("_total_timesteps")
    if not steps or not total or facts.algorithm is None:
        return
    total = max(steps, total)
    late = _late(facts, total)
    if late is None:
        return
    value = settings.integer(late.key) or 0
    yield RULE.finding(
        Severity.WARNING,
        f"in this run {late.what}",
        evidence=f"{late.key} {value:,}; the run has {total:,} steps and was saved at "
        f"{steps:,}, with {facts.n_updates or 0:,} updates",
        remedy=f"Set {late.key} to {late.advice}, or train for longer.",
    )


def _late(facts: Facts, total: int) -> _Late | None:
    settings, updates = facts.checkpoint.hyperparameters, facts.n_updates
    name = facts.checkpoint.algorithm
    starts = settings.integer("learning_starts")
    if starts is not None and updates == 0 and starts >= total:
        return _Late("learning_starts", "no update takes place", f"{total // 10:,} or less")
    if not updates:
        return None
    interval, calls = settings.integer("target_update_interval"), settings.integer("_n_calls")
    if name in _EPSILON and interval and calls is not None:
        n_envs = max(settings.integer("n_envs") or 1, 1)
        if calls < max(interval // n_envs, 1) and interval > total:
            advice = f"{max(total // 100, 1):,} or less"
            return _Late("target_update_interval", "the target is never updated", advice)
    delay = settings.integer("policy_delay")
    # There is an update per step, or fewer, unless `gradient_steps` asks for more.
    most = total * max(settings.integer("gradient_steps") or 1, 1)
    if name in _DELAYED and delay and updates < delay and delay > most:
        return _Late("policy_delay", "the actor is never updated", "2 (SB3's default)")
    return None


def _waits(examination: Examination, _never: Finding, _untrained: Finding) -> bool:
    """Return whether nothing was trained because no update has begun."""
    return examination.facts.n_updates == 0


RULE = Rule(
    code="SD406",
    name="never-starts",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(Examination, check),),
    explains=(Symptom("untrained", _waits),),
)
