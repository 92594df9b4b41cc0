"""A policy whose actions vary so much that the environment sees little but its limits.

## What it does
Compares the `log_std` parameter of a Gaussian policy (PPO, A2C, TRPO) with the limits of its action
space. It reports a standard deviation that has grown by half or more since the start and is, in
most dimensions, above 2 half ranges of the `Box` (warning) or 10 (critical). gSDE's matrix, whose
deviation depends on the observation, and actions without limits are not judged.

## Why is this bad
SB3 clips each action to the `Box` before the environment gets it. At 2 half ranges 62 % of the
actions are a limit even where the policy aims at the middle, at 10 it is 92 %. What the policy aims
at then hardly matters for the reward, no gradient brings the deviation back, and an entropy bonus
goes on raising it.

## Example
`ent_coef=0.5` in PPO on a `Box(-1, 1)`: the deviation grows from 1 to 63.

## Use instead
A smaller `ent_coef` (SB3's default is 0), and a checkpoint from before it grew.

## Fix safety
No fix.

## References
- SB3: `collect_rollouts` in stable_baselines3/common/on_policy_algorithm.py, which clips
- The largest standard deviation in 48 good public checkpoints on a `Box(-1, 1)` is 1.13; in broken
  ones it was 2.05 to 63
"""

from __future__ import annotations

from collections.abc import Iterator
from math import erfc, sqrt

import numpy as np

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.pickled_settings import action_box, first_deviation, squashes
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

WARNING = 2.0
CRITICAL = 10.0
"""Half ranges of the `Box`: 62 % and 92 % of the actions are a limit."""
GROWN = 1.5
"""A deviation that the policy was given at the start is the action space's fault."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where the deviation of a Gaussian policy has grown beyond its limits."""
    facts = examination.facts
    tensor = facts.tensors.get("log_std")
    if tensor is None or tensor.dtype.zero_mask or tensor.is_expanded or len(tensor.shape) != 1:
        return
    if not tensor.numel or facts.measures["log_std"].non_finite:
        return
    deviations = np.exp(np.minimum(tensor.values.astype(np.float64), 700.0))
    if not float(np.median(deviations)) > GROWN * first_deviation(facts.checkpoint):
        return
    box = action_box(facts.checkpoint)
    if box is None or box.low.shape != deviations.shape or squashes(facts.checkpoint):
        return
    half_ranges = box.half_ranges
    ratio = float(np.median(deviations / np.maximum(half_ranges, np.finfo(np.float64).tiny)))
    if not ratio > WARNING:
        return
    yield RULE.finding(
        Severity.CRITICAL if ratio > CRITICAL else Severity.WARNING,
        "the policy's actions vary far beyond their limits",
        evidence=(
            f"log_std: standard deviation {float(np.median(deviations)):.3g}, {ratio:.3g} half "
            f"ranges of the action space: at least {100 * erfc(1 / (ratio * sqrt(2))):.0f} % of "
            "the actions are clipped to a limit"
        ),
        remedy="Lower ent_coef (SB3's default is 0), or go back to a checkpoint from before.",
        tensors=("log_std",),
    )


RULE = Rule(
    code="SD507",
    name="exploration-explosion",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
)
