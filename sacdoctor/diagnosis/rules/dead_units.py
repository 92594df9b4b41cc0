"""Layers most of whose units have no gradient.

## What it does
Counts, in each linear and convolutional layer, the units (rows of the weight) whose second moments
are exactly 0 in the weight and in the bias, and reports layers with more of them than a healthy
layer can start with: one half, and four standard deviations of as many coins. A layer in which all
units are silent is SD204's matter, a network SD208's.

## Why is this bad
A ReLU unit that is off for every observation has no gradient and cannot come back; the layer works
with the rest. Adam's moments are exactly 0 only in units that never had a gradient since the
optimizer was made.

## Example
A network whose learning rate was 0.1 for its first updates: nine of ten units are off for good.

## Use instead
A smaller learning rate from the start, LeakyReLU, scaled observations. If the agent still learns,
its layer is as wide as what is left.

## Fix safety
No fix at rest: values that bring a unit back to life depend on the observations.

## References
- Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models": units that
  are never active
- Sokar et al. 2023, "The dormant neuron phenomenon in deep reinforcement learning"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.gradient_record import mostly_silent_layers, stopped_networks
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all layers that have more silent units than a start explains."""
    facts = examination.facts
    told = {layer.name for layer in examination.biases(Cause.ZERO_GRADIENT)}
    told.update(name for names in stopped_networks(facts).values() for name in names)
    asked = {layer.name for layer in examination.layers}
    found = {
        name: share
        for name, share in mostly_silent_layers(facts).items()
        if name in asked and name not in told
    }
    if not found:
        return
    worst = max(found, key=lambda name: found[name])
    units = facts.tensors[worst].numel
    yield RULE.finding(
        Severity.WARNING,
        f"most units of {len(found):,} layer{'s' if len(found) > 1 else ''} never had a gradient",
        evidence=f"{worst}: {round(found[worst] * units):,} of {units:,} units, by the second "
        "moments of their weights and biases",
        remedy=(
            "Lower the learning rate from the start, or use LeakyReLU: units of ReLU that are off "
            "for every observation cannot come back."
        ),
        tensors=tuple(found),
    )


RULE = Rule(
    code="SD105",
    name="dead-units",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
)
