"""Bias tensors that are dead: more of them is exactly zero than training ever leaves.

## What it does
Reports bias tensors whose share of exact zeros is above the critical threshold (30 %, or
`--critical`), other than normalisation layers at their starting value and models that were never
trained.

## Why is this bad
A trained bias is almost never exactly 0.0: one optimizer step moves it. A bias that is zero was
not trained, had no gradient, or was overwritten; the units behind it do less than they could, and
whatever keeps it at zero usually keeps the weights beside it from learning too.

## Example
`scan` shows `v11_shared_gru.bias_ih_l0` at 100 % zero, and a cause beside it.

## Use instead
Look at the cause first (SD201 to SD206): re-drawing a bias that no optimizer updates cures
nothing. Then `sacdoctor fix model.zip --donor auto`.

## Fix safety
`fix` changes only elements that are exactly zero and writes a new file.

## References
- Severities and thresholds: documentation, "scan", "How to read the table"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.causes import OUTLAST_REPAIR
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wording import biases, counted_causes, share_of_zeros
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all dead biases."""
    dead = [layer for layer in examination.layers if layer.severity is Severity.CRITICAL]
    if not dead:
        return
    limit = examination.thresholds.critical
    redraw_lasts = all(layer.cause not in OUTLAST_REPAIR for layer in dead)
    remedy = "Run `sacdoctor fix --donor auto` for a repaired copy"
    if not redraw_lasts:
        remedy = "Remove the cause first (see the findings below); then run `sacdoctor fix`"
    yield RULE.finding(
        Severity.CRITICAL,
        f"{biases(len(dead))} more than {limit:g} % zero",
        evidence=f"{share_of_zeros(dead)}; {counted_causes(dead)}",
        remedy=remedy + ".",
        tensors=tuple(layer.name for layer in dead),
    )


RULE = Rule(
    code="SD101",
    name="dead-bias",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Examination, check),),
    cured_by=("fix",),
    about_zeros=True,
    grades_biases=True,
    takes_initial_zeros=True,
)
