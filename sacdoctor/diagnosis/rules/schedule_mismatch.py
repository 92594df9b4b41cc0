"""A constant learning rate in the settings, and another one in the optimizers.

## What it does
Compares `learning_rate`, where it is a constant, with the rate in each optimizer's parameter
groups. Models without an update, whose rates SB3 has not written yet, are not looked at; nor is a
constant of 0, which tools write in place of a schedule when they load a model for evaluation.

## Why is this bad
SB3 writes the schedule's value into every group at every update. If they differ, the model was
trained at another rate than its settings say, and will change its rate as soon as it is trained
again.

## Example
`model.learning_rate = 1e-4` on a loaded model: `lr_schedule` still gives the old rate.

## Use instead
`SAC.load(path, custom_objects={"learning_rate": 1e-4})`, or `sacdoctor fix --learning-rate 1e-4`,
which corrects settings and optimizers together.

## Fix safety
Safe.

## References
- SB3: `BaseAlgorithm._update_learning_rate`
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where configured and applied rate differ."""
    facts = examination.facts
    configured = facts.checkpoint.hyperparameters.number("learning_rate")
    if not configured or facts.counters_say_untrained:
        return
    differing = {
        f"{name}: {group.learning_rate:g}"
        for name, state in facts.optimizers.items()
        for group in state.groups
        if group.learning_rate is not None
        and state.moments
        and not isclose(group.learning_rate, configured, rel_tol=1e-6, abs_tol=1e-12)
    }
    if differing:
        yield RULE.finding(
            Severity.WARNING,
            "the optimizers use another learning rate than the settings say",
            evidence=f"learning_rate {configured:g}; {', '.join(sorted(differing))}",
            remedy=f"`sacdoctor fix --learning-rate {configured:g}` brings both together.",
        )


RULE = Rule(
    code="SD404",
    name="schedule-mismatch",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(Examination, check),),
    cured_by=("fix --learning-rate RATE",),
    needs_optimizers=True,
)
