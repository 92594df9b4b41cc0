"""Actions whose limits a Gaussian policy does not reach, or never leaves.

## What it does
Compares the `Box` of the actions with what a Gaussian policy (PPO, A2C, TRPO, RecurrentPPO) does
when training starts: actions around 0, with the deviation exp(`log_std_init`), which is 1. In the
same units a warning is a `Box` that begins 2 deviations or more from 0, one whose half range is
above 1,000 deviations, and one whose half range is below a tenth of a deviation; a notice one that
begins half a deviation or more from 0, or whose half range is above 100. A policy that has learned
its way into the `Box`, or has come to vary as widely as it is, is not reported. Nor are SAC, TD3,
DDPG, TQC and CrossQ, and gSDE with `squash_output`: SB3 scales their actions to the limits.
Dimensions without limits are not judged.

## Why is this bad
SB3 clips each action to the `Box` before the environment gets it. Where the `Box` lies 2 deviations
away, 98 of 100 actions are its nearest limit: all have the same outcome, and there is nothing to
learn from. Where it is 1,000 deviations wide, all that is ever tried are the 3 thousandths of it
around 0, and Adam moves an action by about 0.02 per update at a rate of 3e-4. Where it is a tenth
of a deviation, 92 of 100 actions are one limit or the other.

## Example
`Box(5, 35)` for a temperature: every action is 5. `Box(-10000, 10000)` for shares: every order is
of about one.

## Use instead
Let the environment take actions in [-1, 1] and scale them itself, or wrap it:
`gymnasium.wrappers.RescaleAction(env, -1.0, 1.0)`. Then train anew: what the policy has learned
is in the old units.

## Fix safety
No fix.

## References
- SB3's "Reinforcement Learning Tips and Tricks": normalise the action space
- SB3: `collect_rollouts` in stable_baselines3/common/on_policy_algorithm.py, which clips
- Isaac Lab gives its environments a `Box(-100, 100)` that stands for no limits
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.pickled_settings import Box, action_box, first_deviation, squashes
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

OUTSIDE = 2.0
"""Deviations from 0 to the nearest limit: 2.3 % of a normal distribution lie further out."""
NEAR = 0.5
"""The same for a notice: 69 % of the first actions are the nearest limit."""
WIDE, VERY_WIDE = 100.0, 1000.0
"""Half ranges in deviations."""
NARROW = 0.1
"""The same: 92 % of a normal distribution lie outside of a tenth of a deviation."""


class _Policy(NamedTuple):
    """What a Gaussian policy does, per dimension: at the start, and now where it is known."""

    first_deviation: float
    deviations: NDArray[np.float64]
    means: NDArray[np.float64]


class _Fault(NamedTuple):
    severity: Severity
    message: str
    evidence: str


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where the actions of a Gaussian policy do not fit their limits."""
    facts = examination.facts
    policy = _policy(facts)
    box = action_box(facts.checkpoint) if policy is not None else None
    if policy is None or box is None or box.low.shape != policy.deviations.shape:
        return
    if squashes(facts.checkpoint):
        return
    fault = _outside(box, policy) or _wide(box, policy) or _narrow(box, policy)
    if fault is not None:
        yield RULE.finding(
            fault.severity,
            fault.message,
            evidence=fault.evidence,
            remedy=(
                "Let the environment take actions in [-1, 1] and scale them: "
                "`gymnasium.wrappers.RescaleAction(env, -1.0, 1.0)`. Then train anew."
            ),
        )


def _policy(facts: Facts) -> _Policy | None:
    """Return what is known of a Gaussian policy, None where the policy is none.

    Its mean hangs on the observation; that of no features at all is the output layer's bias.
    """
    tensor = facts.tensors.get("log_std")
    if tensor is None or tensor.dtype.zero_mask or tensor.is_expanded or not tensor.numel:
        return None
    values = np.minimum(tensor.values.astype(np.float64), 700.0)
    actions = values.shape[-1:]
    first = first_deviation(facts.checkpoint)
    # gSDE's deviation hangs on the observation; of that only the start is known.
    deviations = np.exp(values) if values.ndim == 1 else np.full(actions, first)
    bias = facts.tensors.get("action_net.bias")
    means = np.zeros(actions)
    if bias is not None and bias.shape == actions and not bias.dtype.zero_mask:
        means = bias.values.astype(np.float64)
    return _Policy(first, deviations, means)


def _outside(box: Box, policy: _Policy) -> _Fault | None:
    first = np.maximum(np.maximum(box.low, -box.high), 0.0) / max(policy.first_deviation, 1e-300)
    now = np.maximum(np.maximum(box.low - policy.means, policy.means - box.high), 0.0)
    far = (first >= OUTSIDE) & (now >= OUTSIDE * policy.deviations)
    excludes = (first >= NEAR) & (now > 0)
    if not (far | excludes).any():
        return None
    worst = int(np.argmax(np.where(far if far.any() else excludes, first, -1.0)))
    limit = box.low[worst] if box.low[worst] > 0 else box.high[worst]
    return _Fault(
        Severity.WARNING if far.any() else Severity.NOTICE,
        f"the actions begin outside of their limits, where all are {limit:g}"
        if far.any()
        else "the actions' limits exclude 0, around which the policy starts",
        f"{_limits(box, worst)}; the policy starts at 0 with a deviation of "
        f"{policy.first_deviation:g}, and what lies outside is clipped",
    )


def _wide(box: Box, policy: _Policy) -> _Fault | None:
    deviations = np.maximum(policy.deviations, policy.first_deviation)
    ratios = box.half_ranges / np.maximum(deviations, 1e-300)
    ratios = np.where(np.isfinite(box.half_ranges), ratios, 0.0)
    worst = int(np.argmax(ratios))
    if not ratios[worst] > WIDE:
        return None
    return _Fault(
        Severity.WARNING if ratios[worst] > VERY_WIDE else Severity.NOTICE,
        "the actions vary by next to nothing of their range",
        f"{_limits(box, worst)}; half of that is {ratios[worst]:,.0f} times "
        f"the policy's deviation of {deviations[worst]:.3g}",
    )


def _narrow(box: Box, policy: _Policy) -> _Fault | None:
    deviations = np.minimum(policy.deviations, policy.first_deviation)
    ratios = box.half_ranges / np.maximum(deviations, 1e-300)
    # A dimension that the environment pins to one value is no fault.
    ratios = np.where(box.half_ranges > 0, ratios, np.inf)
    worst = int(np.argmin(ratios))
    if not ratios[worst] < NARROW:
        return None
    return _Fault(
        Severity.WARNING,
        "nearly all actions are one of their limits",
        f"{_limits(box, worst)}; the policy starts with a deviation of "
        f"{policy.first_deviation:.3g}, {1 / ratios[worst]:,.0f} times half of that, and what lies "
        "outside is clipped",
    )


def _limits(box: Box, dimension: int) -> str:
    limits = f"{box.low[dimension]:g} to {box.high[dimension]:g}"
    return f"action {dimension} of {box.low.size}: {limits}" if box.low.size > 1 else limits


RULE = Rule(
    code="SD407",
    name="action-space",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(Examination, check),),
)
