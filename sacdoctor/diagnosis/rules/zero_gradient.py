"""Layers that had gradients, all of them exactly zero.

## What it does
Reports dead or partly dead biases whose second moment (Adam's `exp_avg_sq`, RMSprop's
`square_avg`; SGD's `momentum_buffer`) is exactly 0 where the bias is 0, and whole layers, dead or
not, where the second moments of weight and bias are exactly 0 throughout (whole networks are
SD208's matter, but for their dead biases). Single ReLU units that were never active in a living
layer are a notice in the table alone: up to half of a layer and its chance spread may start so,
keep the bias of 0 that PPO, A2C and TRPO begin with, and come in later.

## Why is this bad
The layer is part of the loss and has no influence on it: its units are dead (a ReLU that is off
for every observation, a Tanh that is exactly ±1 for every one), or its branch is multiplied by
zero. What stands before it learns nothing through it either.

## Example
Observations of size 1e5 and PPO's Tanh: every unit of the first layer is ±1 from the start on. A
ReLU layer after one huge update. A gate that starts at exactly 0 in `gate * branch(x)`.

## Use instead
Saturated units: scale the observations, e.g. by `VecNormalize`, and train anew. Units that are off:
a smaller learning rate, LeakyReLU. A branch times zero: start the factor at a small number.

## Fix safety
`fix` re-draws the biases. Whether they stay alive depends on the cause: a unit may come back, a
saturated layer or a branch that is multiplied by zero will not. The weights' second moments stay,
so that this finding stays too.

## References
- Kingma and Ba 2015, "Adam": the second moment is the decayed mean of squared gradients
- Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural
  networks": saturation
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import silent_layers, stopped_networks
from sacdoctor.diagnosis.inputs import LARGE, largest
from sacdoctor.diagnosis.policy_settings import SATURATING, SWITCHING
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wording import biases
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity, worst


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all biases and layers whose gradients were all zero."""
    facts = examination.facts
    dead = examination.biases(Cause.ZERO_GRADIENT)
    known = {layer.name for layer in dead}
    asked = {layer.name for layer in examination.layers}
    stopped = {name for names in stopped_networks(facts).values() for name in names}
    silent = [
        name
        for name in silent_layers(facts)
        if name in asked and name not in known and name not in stopped
    ]
    if not dead and not silent:
        return
    messages, severities = [], []
    if dead:
        severities += [layer.severity for layer in dead if layer.severity is not None]
        messages.append(f"{biases(len(dead))} zero because every gradient that came was exactly 0")
        evidence = f"{dead[0].name}: {dead[0].evidence}"
    if silent:
        severities.append(Severity.WARNING)
        layers = f"{len(silent):,} {'other ' if dead else ''}layer{'s' if len(silent) > 1 else ''}"
        messages.append(f"{layers} had no gradient but 0, though no bias shows it")
        if not dead:
            evidence = (
                f"{silent[0]}: the second moments of the bias and of the weight beside it are "
                "exactly 0: its units have no gradient"
            )
    tensors = [layer.name for layer in dead] + silent
    cause, remedy = _advice(facts, tensors)
    yield RULE.finding(
        worst(severities),
        "; ".join(messages),
        evidence=f"{evidence}{cause}",
        remedy=remedy,
        tensors=tuple(tensors),
    )


def _advice(facts: Facts, names: Sequence[str]) -> tuple[str, str]:
    """Return what the file shows of the reason, to be added to the evidence, and what to do."""
    activations = {facts.activation(name) for name in names} - {None}
    activation = next(iter(activations)) if len(activations) == 1 else None
    seen = largest(facts)
    factor = _zero_factor(facts)
    if seen is not None and seen.largest >= LARGE:
        shown = f"; inputs of size {seen.largest:.2g} reach the network ({seen.source})"
        if activation in SATURATING:
            return shown, (
                f"Its {activation} units are saturated by the size of the inputs. Scale the "
                "observations (VecNormalize) and train anew: biases drawn anew change nothing."
            )
        return shown, (
            "Scale the observations (VecNormalize) and train anew: inputs of this size saturate "
            "units or switch them off, and biases drawn anew change nothing."
        )
    if factor is not None:
        return f"; {factor} is exactly 0, and what it multiplies has no gradient", (
            f"If {factor} is a factor, start it at a small number instead of 0 and train anew: "
            "re-drawn biases do not last."
        )
    if activation in SATURATING:
        return "", (
            f"{activation} units have no gradient where they are at their limits: look at the size "
            "of the observations (VecNormalize scales them) and for branches multiplied by 0."
        )
    if activation in SWITCHING:
        return "", (
            f"Its {activation} units are off for every observation: lower the learning rate, or "
            "use LeakyReLU; re-drawing lasts only if they come back to life."
        )
    return "", (
        "Look for units that are off or at their limits for every observation and for branches "
        "multiplied by 0; re-drawing lasts only if they come back to life."
    )


def _zero_factor(facts: Facts) -> str | None:
    """Return a trainable number that is exactly 0 by itself, such as a gate's."""
    for name in facts.own():
        role, tensor = facts.anatomy.roles[name].role, facts.tensors[name]
        is_number = role in ("parameter", "weight") and tensor.numel == 1
        if is_number and tensor.dtype.is_floating_point and facts.measures[name].zeros:
            return name
    return None


RULE = Rule(
    code="SD204",
    name="zero-gradient",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
    about_zeros=True,
)
