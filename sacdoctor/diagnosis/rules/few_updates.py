"""An off-policy run that collects far more transitions than it learns from.

## What it does
Divides `_n_updates` by the steps since `learning_starts`. SB3's defaults are 1 update per
transition (SAC, TQC, TD3, DDPG, CrossQ) or 1 in 4 (DQN, QR-DQN). Less than a tenth of that is a
warning where the whole run comes to fewer than 10,000 updates at that pace, and a notice where it
comes to more.

## Why is this bad
Adam moves a weight by about the learning rate per update: at 3e-4 a network needs some thousand
updates to become another one, however many transitions lie in the buffer. The transitions are
overwritten before they were learned from.

## Example
16 environments and `gradient_steps=1`: 194 updates in 3,200 steps. `train_freq=500`.

## Use instead
`gradient_steps=-1`: as many updates as transitions were collected, however many environments there
are.

## Fix safety
No fix: train for longer.

## References
- SB3: "Vectorized environments" in the documentation of SAC, and `learn` in
  stable_baselines3/common/off_policy_algorithm.py
- rl-zoo's tuned settings: 0.25 to 1 update per transition
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

USUAL, USUAL_OF_Q = 1.0, 0.25
"""Updates per transition by SB3's defaults; with Q-networks alone, one in 4 steps."""
FEW = 0.1
"""The share of the usual pace below which it is reported."""
ENOUGH = 10_000
"""Updates in a run: at a rate of 3e-4 a weight has come 3 far, ten times its first size."""
FEWEST_STEPS = 100
"""Steps since `learning_starts`: with fewer, a rollout that is not over yet counts for much."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where an off-policy run hardly learns from what it collects."""
    facts = examination.facts
    settings, row = facts.checkpoint.hyperparameters, facts.algorithm
    steps, updates = settings.integer("num_timesteps"), facts.n_updates
    if row is None or not row.replays or not steps or not updates:
        return
    collected = steps - (settings.integer("learning_starts") or 0)
    if collected < FEWEST_STEPS:
        return
    pace, usual = updates / collected, USUAL_OF_Q if row.name in ("DQN", "QRDQN") else USUAL
    if pace >= FEW * usual:
        return
    planned = pace * max(steps, settings.integer("_total_timesteps") or 0)
    n_envs = settings.integer("n_envs") or 1
    yield RULE.finding(
        Severity.WARNING if planned < ENOUGH else Severity.NOTICE,
        f"{updates:,} updates for {collected:,} transitions are few",
        evidence=(
            f"{pace:.2g} updates per transition, where SB3's defaults for {row.name} give "
            f"{usual:g}; {n_envs:,} environment{'s' if n_envs > 1 else ''}, gradient_steps "
            f"{settings.integer('gradient_steps') or 1}"
        ),
        remedy=(
            "Set gradient_steps to -1 (as many updates as transitions) and train_freq to SB3's "
            "default, then train for longer."
        ),
    )


RULE = Rule(
    code="SD408",
    name="few-updates",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(Examination, check),),
)
