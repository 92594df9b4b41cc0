"""Observations so large that the network cannot learn from them, or that hold NaN.

## What it does
Looks at the size of what reaches the network: in the last observation, which SB3 keeps in the file
(`_last_obs`), and in the optimizer's memory, where √(Σᵢ v_W[i, j] ÷ Σᵢ v_b[i]) over the second
moments of a first layer is a mean of |xⱼ|. It reports

- NaN or infinite values in the last observation while the weights are still finite (critical);
- Tanh layers whose units the last observation holds at exactly ±1 in float32, half of them
  (warning) or nine of ten (critical), where the layer would be saturated as SB3 draws it, too;
- inputs above 100 before Tanh where the file does not tell more (warning);
- inputs whose root mean square is above 100 before any other activation (warning);
- images of bytes that SB3's layers get as they are, with `normalize_images=False` (warning);

the last three are critical where a layer has no gradient any more. Layers that read the observation
and have none are not named once more, nor are gradients that its size explains.

## Why is this bad
A saturated unit has no gradient: its layer stays as it was drawn, and the policy answers every
observation alike. Layers of ReLU pass the size on: outputs of a few dozens, beyond the limits of
actions and far from any value, before the first update. It is the commonest reason for agents that
always do the same.

## Example
Prices, volumes and account balances as observations; joint forces in newtons beside angles.

## Use instead
`VecNormalize(venv, norm_obs=True)`, or observations scaled to about [−1, 1] in the environment;
then train anew, as weights that were trained on other sizes do not fit.

## Fix safety
No fix: the values come from outside the file. Biases that are drawn anew are saturated again.

## References
- Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural
  networks": saturation
- Stable-Baselines3, "Tips and Tricks": always normalize the observation space
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.algorithms import PolicyUpdate
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import silent_layers, stopped_networks
from sacdoctor.diagnosis.inputs import (
    LARGE,
    NO_GRADIENT,
    Inputs,
    Saturation,
    first_layers,
    inputs,
    largest,
    not_finite,
    saturations,
)
from sacdoctor.diagnosis.policy_settings import SATURATING, brightest_raw_pixel
from sacdoctor.diagnosis.rules.exploding_gradients import WARNING as EXPLODING
from sacdoctor.diagnosis.rules.exploding_gradients import norm_of_biases
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity

HALF, NEARLY_ALL = 0.5, 0.9
_REMEDY = (
    "Scale the observations (VecNormalize, or in the environment to about [-1, 1]) and train anew."
)


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over the inputs of all networks."""
    facts = examination.facts
    bad = not_finite(facts)
    if bad and any(measured.non_finite for measured in facts.measures.values()):
        return  # actions that are NaN make observations so: that is SD301's
    if bad:
        yield RULE.finding(
            Severity.CRITICAL,
            f"the last observation holds {bad:,} NaN or infinite value{'s' if bad > 1 else ''}",
            evidence="one such value makes every output of the network NaN",
            remedy="Find where the environment makes it; `VecCheckNan(venv, raise_exception=True)` "
            "stops there.",
        )
        return
    row = facts.algorithm
    if row is not None and row.policy_update is PolicyUpdate.RANDOM_SEARCH:
        return  # no gradient that could vanish
    saturated = max(_at_limits(facts), key=lambda layer: layer.share, default=None)
    if saturated is not None:
        yield _of_saturation(saturated)
        return
    large = max(_large(facts), key=lambda found: found.largest, default=None)
    if large is not None:
        has_killed = bool(silent_layers(facts) or stopped_networks(facts))
        yield RULE.finding(
            Severity.CRITICAL if has_killed else Severity.WARNING,
            f"inputs of size {large.largest:.2g} reach the network",
            evidence=f"{large.source}: largest {large.largest:.3g}, root mean square "
            f"{large.rms:.3g}",
            remedy=_REMEDY,
        )
        return
    brightest = brightest_raw_pixel(facts.checkpoint)
    if brightest > LARGE:
        yield RULE.finding(
            Severity.WARNING,
            f"images reach the network as bytes, up to {brightest}",
            evidence=f"normalize_images is False: the last observation is an image with numbers up "
            f"to {brightest}, and SB3's layers are drawn for 0 to 1",
            remedy="Leave normalize_images at SB3's True, which divides by 255, and train anew.",
        )


def _at_limits(facts: Facts) -> Iterator[Saturation]:
    for layer in saturations(facts):
        if layer.share >= HALF and layer.when_drawn >= NO_GRADIENT:
            yield layer


def _of_saturation(layer: Saturation) -> Finding:
    return RULE.finding(
        Severity.CRITICAL if layer.share >= NEARLY_ALL else Severity.WARNING,
        f"the observations are so large that {100 * layer.share:.3g} % of a layer is saturated",
        evidence=f"{layer.layer}: its Tanh is exactly 1 or -1 for the last observation, where it "
        "has no gradient",
        remedy=_REMEDY,
        tensors=(f"{layer.layer}.weight", f"{layer.layer}.bias"),
    )


def _large(facts: Facts) -> Iterator[Inputs]:
    """Yield the inputs that are too large for the activation behind them."""
    first = (name for name in facts.parameters if name.endswith(".0.bias"))
    activations = {facts.activation(name) for name in first} - {None}
    saturates = bool(activations) and activations <= SATURATING
    for found in inputs(facts):
        if (found.largest if saturates else found.rms) >= LARGE:
            yield found


def _reaches(examination: Examination, _large: Finding, other: Finding) -> bool:
    """Return whether all that another finding names are layers that read the observation.

    Their units are saturated, or off, by its size; what follows them is not. A bias that was set to
    zero once it was trained is another matter.
    """
    facts, causes = examination.facts, {layer.name: layer.cause for layer in examination.layers}
    if not_finite(facts):
        return False  # it is about NaN, not about size
    widths = {rows.reshape(len(rows), -1).shape[1] for rows in facts.last_observations}
    first = {*first_layers(facts)}
    for name in other.tensors:
        own = facts.anatomy.roles[name].online or name
        weight = facts.tensors.get(own.removesuffix("bias") + "weight")
        reads = weight is not None and (not widths or weight.shape[1:] in {(w,) for w in widths})
        if own not in first or not reads or causes.get(name) not in (None, Cause.ZERO_GRADIENT):
            return False
    return True


def _makes_gradients_large(examination: Examination, _large: Finding, _other: Finding) -> bool:
    """Return whether the size of the inputs alone may have made the gradients as large as they are.

    That of a weight is its unit's error times its input, that of a bias the error alone. An error
    of the size of the inputs is what they make, where layers pass them on; from larger ones rewards
    are to blame.
    """
    facts = examination.facts
    seen = largest(facts)
    if seen is None or not_finite(facts):
        return False
    errors = [norm_of_biases(state) or 0.0 for state in facts.optimizers.values()]
    return max(errors, default=0.0) <= max(EXPLODING, seen.largest)


RULE = Rule(
    code="SD304",
    name="input-scale",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    comes_first=True,
    explains=(
        Symptom("exploding-gradients", _makes_gradients_large),
        Symptom("zero-gradient", _reaches),
        Symptom("dead-bias", _reaches),
        Symptom("partly-dead-bias", _reaches),
        Symptom("saturated-units"),
        Symptom("action-stagnation"),
    ),
)
