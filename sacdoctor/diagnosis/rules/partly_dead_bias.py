"""Bias tensors of which a noticeable part is exactly zero.

## What it does
Reports bias tensors whose share of exact zeros is above the warning threshold (10 %, or
`--warning`) and not above the critical one. Models that were never trained are left to SD201.

## Why is this bad
Single zeros in a trained bias are units that never had a gradient, typically ReLU units that are
switched off for every observation. A few are normal in a wide network; a tenth is lost capacity,
and the share tends to grow.

## Example
`actor.latent_pi.0.bias` with 30 of its 256 elements at 0.0 after 100,000 updates.

## Use instead
A smaller learning rate, normalised observations, or an activation with a gradient everywhere
(`policy_kwargs=dict(activation_fn=torch.nn.LeakyReLU)`).

## Fix safety
`fix` re-draws the zero elements only.

## References
- Lu et al. 2019, "Dying ReLU and Initialization: Theory and Numerical Examples"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wording import biases, counted_causes, share_of_zeros
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all partly dead biases."""
    partly = [
        layer
        for layer in examination.layers
        if layer.severity is Severity.WARNING and layer.cause is not Cause.UNTRAINED
    ]
    if not partly:
        return
    yield RULE.finding(
        Severity.WARNING,
        f"{biases(len(partly))} more than {examination.thresholds.warning:g} % zero",
        evidence=f"{share_of_zeros(partly)}; {counted_causes(partly)}",
        remedy="Watch whether the share grows; `sacdoctor fix` re-draws the zero elements.",
        tensors=tuple(layer.name for layer in partly),
    )


RULE = Rule(
    code="SD102",
    name="partly-dead-bias",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(Examination, check),),
    cured_by=("fix",),
    about_zeros=True,
    grades_biases=True,
    takes_initial_zeros=True,
)
