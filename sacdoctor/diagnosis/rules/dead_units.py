"""Layers most of whose units have no gradient, or all of whose units put out nothing.

## What it does
At rest it counts, in each linear and convolutional layer, the units (rows of the weight) whose
second moments are exactly 0 in the weight and in the bias, and reports layers with more of them
than a healthy layer can start with: one half, and four standard deviations of as many coins. A
layer in which all units are silent is SD204's matter, a network SD208's.

At work (`sacdoctor probe`) it reports layers all of whose units are exactly 0 on every observation.
Single ones say little: healthy agents have up to 73 % of them.

## Why is this bad
A ReLU unit that is off for every observation has no gradient and cannot come back; the layer works
with the rest. Adam's moments are exactly 0 only in units that never had a gradient since the
optimizer was made. Behind a layer that puts out nothing the network says the same whatever it sees.

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

from sacdoctor.diagnosis.activity_facts import Activity
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.gradient_record import mostly_silent_layers, stopped_networks
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
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


def check_activity(activity: Activity) -> Iterator[Finding]:
    """Yield one finding over all layers that put out nothing."""
    found = {
        layer.name: layer
        for network in activity.networks
        if not network.is_target
        for layer in network.layers
        if layer.activation is not None and layer.dead == layer.units
    }
    if not found:
        return
    first = next(iter(found.values()))
    are = "layers put" if len(found) > 1 else "layer puts"
    yield RULE.finding(
        Severity.CRITICAL,
        f"{len(found):,} {are} out nothing, whatever the network sees",
        evidence=f"{first.name}: all {first.units:,} units of {first.activation} are exactly 0 on "
        f"{activity.observations:,} observations",
        remedy=(
            "Go back to a checkpoint from before. Lower the learning rate, scale the observations, "
            "or use LeakyReLU: units of ReLU that are off for every observation cannot come back."
        ),
        tensors=tuple(f"{name}.weight" for name in found),
    )


RULE = Rule(
    code="SD105",
    name="dead-units",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check), Check(Activity, check_activity)),
    needs_optimizers=True,
    explains=(Symptom("action-stagnation"), Symptom("ignored-action")),
)
