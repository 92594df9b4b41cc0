"""Weight tensors that are exactly zero, or mostly so.

## What it does
Reports weights of which more than half is exactly zero: critical where all of it is, a warning
otherwise. Untrained models and biases are not looked at.

## Why is this bad
A layer with a zero weight passes nothing on: whatever it is given, its output is its bias. With a
zero bias as well, nothing before it gets a gradient either, and it stays so for ever.

## Example
`action_net.weight` is all zero: the policy takes the same action in every state.

## Use instead
Start the layer from `torch.nn.init.orthogonal_` or a small uniform draw, or load it from an
earlier checkpoint. Weights are not re-drawn by `fix`: a random weight is no repair.

## Fix safety
No fix.

## References
- Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural
  networks"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

MOSTLY = 50.0
"""Percent. Trained weights hold no exact zeros; a pruned or padded one may hold some."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding for weights that are all zero, one for those that mostly are."""
    facts = examination.facts
    if facts.counters_say_untrained:
        return
    weights = [
        layer
        for layer in examination.layers
        if layer.role == "weight" and layer.alias_of is None and layer.zero_percent > MOSTLY
    ]
    dead = [layer for layer in weights if layer.zeros == layer.parameters]
    for severity, found, words in (
        (Severity.CRITICAL, dead, "all zero"),
        (Severity.WARNING, [w for w in weights if w not in dead], "mostly zero"),
    ):
        if found:
            names = [f"{layer.name} {layer.zero_percent:.3g} %" for layer in found]
            yield RULE.finding(
                severity,
                f"{len(found)} weight tensor{'s are' if len(found) > 1 else ' is'} {words}",
                evidence=", ".join(names[:4]) + (" and others" if len(names) > 4 else ""),
                remedy=(
                    "Initialise the layer anew or load it from an earlier checkpoint; `fix` does "
                    "not re-draw weights."
                ),
                tensors=tuple(layer.name for layer in found),
            )


RULE = Rule(
    code="SD103",
    name="dead-weight",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    about_zeros=True,
)
