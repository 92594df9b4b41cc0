"""Policy updates so large that the clipped ratio does not hold them any more.

## What it does
`sacdoctor history` looks at `train/approx_kl`, which SB3 logs for PPO, MaskablePPO and RecurrentPPO
after each rollout. It reports a run in which at least two updates, and one in twenty of those that
moved the policy at all, were above 1.

## Why is this bad
SB3's estimate is the mean of (r − 1) − ln r over the actions that were taken, r being how many
times as likely the updated policy makes them. It is 1 where a typical action became 3 times as
likely or a sixth: the clipping at 1 ± 0.2 has lost its hold. The rollout was made by another policy
than the one that learns from it, and a policy that is hit like that often does not come back.
Trainings that learn mostly stay below 0.1; the largest value of one that still learned, at a rate
of 1e-2, was 0.32.

## Example
`learning_rate=0.05`, `n_epochs=100`, `clip_range=10.0`; a policy whose standard deviation is tiny.

## Use instead
A lower learning rate, fewer epochs, larger batches, the usual `clip_range` of 0.2, or
`target_kl=0.02`, which ends an update early.

## Fix safety
No fix: go back to a checkpoint from before.

## References
- Schulman et al. 2017, "Proximal Policy Optimization Algorithms", section 3
- Schulman 2020, "Approximating KL Divergence": http://joschu.net/blog/kl-approx.html
- stable_baselines3/ppo/ppo.py: `approx_kl_div`
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sacdoctor.diagnosis.log_facts import LogFacts
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

SERIES = "train/approx_kl"
LARGE = 1.0
LEAST = 2
"""One may be an accident of a few actions."""
SHARE = 0.05
_MOVED = 1e-6
"""A policy that has become deterministic, or whose rate is 0, is not moved by what it learns."""


def check(log: LogFacts) -> Iterator[Finding]:
    """Yield one finding over all updates that were too large."""
    series = log.series.get(SERIES)
    if series is None:
        return
    large = series.values > LARGE
    count, moved = int(np.sum(large)), int(np.sum(series.values > _MOVED))
    if count < LEAST or count < SHARE * moved:
        return
    steps = series.timesteps[large]
    yield RULE.finding(
        Severity.WARNING,
        f"{count:,} of {len(series.values):,} updates turned the policy into another one",
        evidence=f"approx_kl was above {LARGE:g} from step {int(steps[0]):,} to "
        f"{int(steps[-1]):,}, up to {float(np.max(series.values[large])):.3g}; where PPO learns it "
        "is below 0.1",
        remedy=(
            "Lower the learning rate or n_epochs, keep clip_range at 0.2, or set target_kl=0.02. "
            f"Go back to a checkpoint from before step {int(steps[0]):,}."
        ),
    )


RULE = Rule(
    code="SD808",
    name="destructive-update",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(LogFacts, check),),
)
