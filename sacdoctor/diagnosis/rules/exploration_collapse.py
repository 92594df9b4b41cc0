"""A policy whose actions no longer vary.

## What it does
Reports a `log_std` parameter (PPO, A2C, TRPO with continuous actions; gSDE) whose standard
deviation is below 0.01 (warning) or 0.001 (critical) in every dimension. SAC without gSDE computes
its standard deviation from the observation. That the file does not tell: `sacdoctor probe` sets the
policy to work, and reports a mean over observations that is as small.

## Why is this bad
Without spread in its actions the agent sees the same outcome again and again: gradients of the
log-probability explode, and nothing new is found.

## Example
`log_std` at −8 in all dimensions: a standard deviation of 0.0003.

## Use instead
A larger `ent_coef` (PPO, A2C), a higher `log_std_init`, fewer epochs per update.

## Fix safety
No fix.

## References
- The smallest standard deviation in the healthy checkpoints that this was measured on is 0.025
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp

import numpy as np

from sacdoctor.diagnosis.activity_facts import Activity
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

WARNING = 0.01
CRITICAL = 0.001
_REMEDY = "Raise ent_coef or log_std_init, or go back to a checkpoint that still explores."


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding for each `log_std` parameter that has collapsed."""
    facts = examination.facts
    for layer in examination.layers:
        is_log_std = layer.name in ("log_std", "actor.log_std")
        if not is_log_std or not layer.parameters or facts.measures[layer.name].non_finite:
            continue
        if facts.tensors[layer.name].dtype.zero_mask or facts.tensors[layer.name].is_expanded:
            continue
        values = facts.tensors[layer.name].values
        largest = exp(min(float(np.max(values)), 700.0))
        if largest >= WARNING:
            continue
        yield RULE.finding(
            Severity.CRITICAL if largest < CRITICAL else Severity.WARNING,
            "the policy's actions no longer vary",
            evidence=(
                f"{layer.name}: standard deviation at most {largest:.1e} in {values.size} "
                "dimensions"
            ),
            remedy=_REMEDY,
            tensors=(layer.name,),
        )


def check_activity(activity: Activity) -> Iterator[Finding]:
    """Yield a finding for a policy at work that adds hardly anything to its best action."""
    for network in activity.networks:
        deviation = None if network.actions is None else network.actions.deviation
        if not network.is_policy or deviation is None or not deviation < WARNING:
            continue
        yield RULE.finding(
            Severity.CRITICAL if deviation < CRITICAL else Severity.WARNING,
            "the policy's actions no longer vary",
            evidence=f"{network.name}: a mean standard deviation of {deviation:.1e} on "
            f"{activity.observations:,} observations",
            remedy=_REMEDY,
        )


RULE = Rule(
    code="SD505",
    name="exploration-collapse",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check), Check(Activity, check_activity)),
)
