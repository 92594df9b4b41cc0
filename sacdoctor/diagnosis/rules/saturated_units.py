"""A policy whose units are at their limits whatever it sees.

## What it does
`sacdoctor probe` sets the networks to work on observations. It reports a policy

- in one of whose hidden layers (8 units or more) nine of ten outputs lie within 1 % of the limits
  of their activation (Tanh, Sigmoid, Softsign, Hardtanh, or an LSTM's and a GRU's own);
- whose last Tanh is given numbers beyond 9 on nine of ten: there it is 1 in float32, and its
  gradient exactly 0.

Value networks are not judged: those of healthy PPO and A2C agents saturate, and still learn.

## Why is this bad
At 99 % of its limit Tanh passes 2 % of a gradient on, and two such layers 0.04 %. What lies before
them stops learning. What lies behind sees signs in place of numbers: very different observations
look alike, and small changes turn an action around.

## Example
Prices of 100,000 as observations of an agent with Tanh layers: every unit of the first layer is
exactly 1 or −1, and the action is one and the same.

## Use instead
Scale the observations: `VecNormalize`, or divide by what they can be at most. A Gaussian policy
whose mean runs away from the bounds needs a smaller learning rate, or entropy that is rewarded.

## Fix safety
No fix: the weights fit inputs of that size, and have to be trained anew on scaled ones.

## References
- Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural
  networks": saturated units
- Stable-Baselines3 documentation, "Reinforcement Learning Tips and Tricks": normalise observations
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.activity_facts import Activity, LayerActivity, NetworkActivity
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

MOST = 0.9
"""The share of outputs at their limits: a tenth of a layer may still learn, and tell."""
LEAST_UNITS = 8
"""Layers narrower than that are gates and heads, which may be of one mind."""
_REMEDY = (
    "Scale the observations (VecNormalize, or divide them by their largest size) and train anew."
)


def check(activity: Activity) -> Iterator[Finding]:
    """Yield a finding for saturated layers of policies, and one for saturated actions."""
    for network in activity.networks:
        if network.is_policy:
            yield from _of(network)


def _of(network: NetworkActivity) -> Iterator[Finding]:
    found = [layer for layer in network.layers[:-1] if _is_saturated(layer)]
    if found:
        first = found[0]
        yield RULE.finding(
            Severity.CRITICAL,
            f"the units of {len(found):,} layer{'s' if len(found) > 1 else ''} of the policy are "
            "at their limits whatever it sees",
            evidence=f"{first.name}: {100 * (first.at_limit or 0.0):.4g} % of the outputs of its "
            f"{first.units:,} units are within 1 % of the limits of {first.activation}"
            + (f"; {first.stuck:,} units have a gradient of exactly 0" if first.stuck else ""),
            remedy=_REMEDY,
            tensors=tuple(f"{layer.name}.weight" for layer in found),
        )
    flat = network.actions.flat if network.actions is not None else None
    if not found and flat is not None and flat >= MOST:
        yield RULE.finding(
            Severity.CRITICAL,
            "the policy's actions are so far beyond their bounds that nothing can move them",
            evidence=f"{100 * flat:.4g} % of what its last Tanh is given lies beyond 9, where its "
            "gradient is exactly 0",
            remedy=_REMEDY,
        )


def _is_saturated(layer: LayerActivity) -> bool:
    return layer.at_limit is not None and layer.at_limit >= MOST and layer.units >= LEAST_UNITS


RULE = Rule(
    code="SD106",
    name="saturated-units",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Activity, check),),
    explains=(Symptom("action-stagnation"),),
)
