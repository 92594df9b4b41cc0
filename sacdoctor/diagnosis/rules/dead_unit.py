"""Units whose incoming weights and bias are all exactly zero.

## What it does
Reports layers in which single units (rows of the weight: outputs of a Linear, filters of a Conv)
have nothing but zeros coming in, and a zero bias where there is one. It is a warning, or critical
where so much of a bias is zero; that the biases are is not named once more, unless other zeros are
among them. Whole layers of zeros are SD103; untrained models are not looked at.

## Why is this bad
Such a unit puts out 0 for every input. Behind a ReLU it has no gradient either, so it never comes
back: the network is as wide as its living units.

## Example
12 of the 64 rows of `mlp_extractor.policy_net.0.weight` are zero.

## Use instead
A narrower layer if the units are not needed, else a smaller learning rate and LeakyReLU, Tanh or
GELU. Was something pruned or masked on purpose, `--ignore SD104`.

## Fix safety
`fix` re-draws the bias only, which lets a gradient through again where the bias is dead.

## References
- Sokar et al. 2023, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning"
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

_KINDS = ("Linear", "Conv")


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all layers with dead units."""
    facts = examination.facts
    if facts.counters_say_untrained:
        return
    found: dict[str, tuple[int, int]] = {}
    for layer in examination.layers:
        partly_zero = 0 < layer.zeros < layer.parameters
        if layer.role != "weight" or layer.alias_of or layer.kind not in _KINDS or not partly_zero:
            continue
        if facts.tensors[layer.name].is_expanded:
            continue
        # A dead row needs as many zeros as a row has elements; most weights have none at all.
        if len(layer.shape) > 1 and layer.zeros >= layer.parameters // layer.shape[0]:
            dead = _dead_rows(facts, layer.name)
            if dead:
                found[layer.name] = (dead, layer.shape[0])
    if found:
        units = sum(dead for dead, _ in found.values())
        names = [f"{name} {dead:,} of {rows:,}" for name, (dead, rows) in found.items()]
        yield RULE.finding(
            Severity.WARNING,
            f"{units:,} unit{'s are' if units > 1 else ' is'} dead: nothing comes in",
            evidence=", ".join(names[:4]) + (" and others" if len(names) > 4 else ""),
            remedy=(
                "Lower the learning rate, use an activation with a gradient everywhere, or make "
                "the layer narrower."
            ),
            tensors=tuple(
                name for weight in found for name in _parts(facts, weight, found[weight])
            ),
        )


def _parts(facts: Facts, weight: str, found: tuple[int, int]) -> Iterator[str]:
    """Yield a weight, and the bias beside it where all its zeros are those of dead units."""
    yield weight
    bias = _bias_of(weight)
    if bias in facts.tensors and facts.measures[bias].zeros == found[0]:
        yield bias


def _bias_of(weight: str) -> str:
    return weight.removesuffix("weight") + "bias"


def _dead_rows(facts: Facts, name: str) -> int:
    weight = facts.tensors[name]
    rows = ~np.any(weight.values.reshape(weight.shape[0], -1), axis=1)
    bias = facts.tensors.get(_bias_of(name))
    if bias is not None and bias.shape == weight.shape[:1]:
        rows &= bias.values == 0
    return int(np.count_nonzero(rows))


RULE = Rule(
    code="SD104",
    name="dead-unit",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    about_zeros=True,
    explains=(Symptom("dead-bias"), Symptom("partly-dead-bias")),
)
