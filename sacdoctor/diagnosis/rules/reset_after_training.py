"""Biases that were trained and then set to zero.

## What it does
Reports biases that are exactly 0 where their second moment is above 0: the optimizer moved them,
and afterwards something overwrote them.

## Why is this bad
Trained values are lost. The usual suspects are a script that "repairs" a checkpoint, a call of
`init_weights` or `reset_parameters` on a loaded model, and a state dict copied by halves.

## Example
`for m in policy.modules(): if hasattr(m, "bias"): m.bias.data.zero_()` in a callback.

## Use instead
Take the values back from where they still are: `fix --donor auto` looks for the target network, an
earlier checkpoint of the run, and a replay buffer, to whose transitions it fits what is left.

## Fix safety
Safe, and better with a donor than with new draws.

## References
- Kingma and Ba 2015, "Adam": a step at a positive rate moves every element with a gradient
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wording import cause_finding
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all biases that were trained and then zeroed."""
    is_one = len(examination.biases(Cause.RESET_AFTER_TRAINING)) == 1
    were, them = ("it was", "it") if is_one else ("they were", "them")
    yield from cause_finding(
        RULE,
        examination,
        Cause.RESET_AFTER_TRAINING,
        f"zero though {were} trained: something overwrote {them}",
        f"Recover {them} with `sacdoctor fix --donor auto`, and look for code that re-initialises "
        "or partly loads the policy.",
    )


RULE = Rule(
    code="SD205",
    name="reset-after-training",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    cured_by=("fix --donor auto", "fix"),
    needs_optimizers=True,
    about_zeros=True,
)
