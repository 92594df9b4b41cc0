"""Biases that had gradients, all of them exactly zero.

## What it does
Reports dead or partly dead biases whose second moment (Adam's `exp_avg_sq`, RMSprop's
`square_avg`; SGD's `momentum_buffer`) is exactly 0 where the bias is 0.

## Why is this bad
The layer is part of the loss and has no influence on it: its units are dead (a ReLU that is off
for every observation), or its branch is multiplied by zero.

## Example
A gate that starts at exactly 0 in `gate * branch(x)`; a ReLU layer after one huge update.

## Use instead
Dead units: LeakyReLU or Tanh, a smaller learning rate, normalised observations. A branch times
zero: start the factor at a small number instead of 0.

## Fix safety
`fix` re-draws the biases. Whether they stay alive depends on the cause: a unit may come back, a
branch that is multiplied by zero will not.

## References
- Kingma and Ba 2015, "Adam": the second moment is the decayed mean of squared gradients
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wording import cause_finding
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all biases whose gradients were all zero."""
    yield from cause_finding(
        RULE,
        examination,
        Cause.ZERO_GRADIENT,
        "zero because every gradient that came was exactly 0",
        "Look for ReLU units that are off for every observation and for branches multiplied by 0; "
        "re-drawing lasts only if they come back to life.",
    )


RULE = Rule(
    code="SD204",
    name="zero-gradient",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
    about_zeros=True,
)
