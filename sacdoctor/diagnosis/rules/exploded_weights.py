"""Weights or biases far larger than those of any network that learns.

## What it does
Reports weights and biases whose largest absolute value is above 100 (warning) or 1,000 (critical).

## Why is this bad
Networks that SB3 initialises start below 1 and rarely pass 10. With weights in the thousands,
Tanh units are saturated, Q-values are astronomic, and gradients either vanish or explode.

## Example
`critic.qf0.4.weight` reaches 25,000 after training at a learning rate of 0.1.

## Use instead
A learning rate in the safe range, clipped gradients, and rewards of a size around 1
(`VecNormalize`). Go on from a checkpoint from before the explosion.

## Fix safety
No fix: scaling weights back does not restore what they knew.

## References
- The largest weight in the healthy checkpoints that this was measured on is 31
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.diagnosis.statistics import largest
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

WARNING = 100.0
CRITICAL = 1_000.0
"""Absolute values: over 3 and 30 times the largest that healthy trained checkpoints showed (31,
DDPG on MountainCarContinuous)."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all tensors with exploded values."""
    facts = examination.facts
    found: dict[str, float] = {}
    for layer in examination.layers:
        # No element is larger than the norm, which is known already.
        if layer.role in ("weight", "bias") and facts.measures[layer.name].norm > WARNING:
            size = largest(facts.tensors[layer.name]) if layer.alias_of is None else 0.0
            if size > WARNING:
                found[layer.name] = size
    if not found:
        return
    ordered = sorted(found.items(), key=lambda item: -item[1])
    severity = Severity.CRITICAL if ordered[0][1] > CRITICAL else Severity.WARNING
    yield RULE.finding(
        severity,
        f"{len(found)} tensor{'s hold' if len(found) > 1 else ' holds'} values above {WARNING:g}",
        evidence=", ".join(f"{name} up to {size:.3g}" for name, size in ordered[:3]),
        remedy=(
            "Go back to a checkpoint from before; lower the learning rate, clip the gradients, "
            "scale the rewards to about 1."
        ),
        tensors=tuple(name for name, _ in ordered),
    )


RULE = Rule(
    code="SD302",
    name="exploded-weights",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    explains=(Symptom("value-out-of-bounds"),),
)
