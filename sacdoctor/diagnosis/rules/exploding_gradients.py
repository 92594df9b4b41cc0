"""Gradients so large, by the optimizer's own memory of them, that updates are noise.

## What it does
Estimates the gradient norm of each optimizer from its second moments, √Σ v ÷ (1 − β₂^step), and
reports it above 10,000 (warning) or 1,000,000 (critical). Where SB3 clips gradients (PPO, A2C, DQN)
these are the clipped ones.

## Why is this bad
Adam divides by the size of the gradients, so it hides an explosion until one batch is larger still.
Norms in the ten thousands come from rewards or Q-values that are far too large.

## Example
A SAC agent on rewards of a million: the critic's estimated gradient norm is 3e6.

## Use instead
Scale the rewards (`VecNormalize(norm_reward=True)`), clip the gradients, lower `gamma` where
Q-values sum up over too long a horizon.

## Fix safety
No fix. `fix-config` emits settings with clipping.

## References
- Kingma and Ba 2015, "Adam", section 3: bias-corrected second moment
- Pascanu et al. 2013, "On the difficulty of training recurrent neural networks": clipping by norm
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, nan, sqrt

import numpy as np
from msgspec import Struct

from sacdoctor.checkpoint import OptimizerState, Tensor
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.diagnosis.statistics import as_numbers
from sacdoctor.model import Finding
from sacdoctor.optimizers import SECOND_MOMENTS, decay_of, starting_at_one
from sacdoctor.severity import Severity

WARNING = 10_000.0
CRITICAL = 1_000_000.0
"""Estimated norms. Healthy unclipped networks reach 1,160 on Pendulum, with its returns of −1,000
(TRPO's value function; CrossQ's critic 810, SAC's 190); rewards of a million give 660,000."""


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all optimizers with large gradients."""
    norms = {
        name: estimated_gradient_norm(state) for name, state in examination.facts.optimizers.items()
    }
    large = {name: norm for name, norm in norms.items() if norm is not None and norm > WARNING}
    if not large:
        return
    severity = Severity.CRITICAL if max(large.values()) > CRITICAL else Severity.WARNING
    yield RULE.finding(
        severity,
        f"gradients explode in {' and '.join(large)}",
        evidence=", ".join(
            f"{name}: estimated gradient norm {norm:,.0f}" for name, norm in large.items()
        ),
        remedy=(
            "Scale the rewards to about 1 (VecNormalize), clip the gradients, lower the learning "
            "rate."
        ),
    )


def estimated_gradient_norm(state: OptimizerState) -> float | None:
    """Return √Σ v ÷ (1 − β^step) over all entries, None where there is nothing to tell it by.

    v is Adam's `exp_avg_sq` or RMSprop's `square_avg`, β its `betas[1]` or `alpha`. SB3's
    `RMSpropTFLike` starts v at 1: where no element is below β^step, what is left of that start,
    β^step is taken off each, so that the estimate is rather too low than too high. None too where
    that start hides the gradients: what remains is no more than float32 rounds off. NaN where the
    moments are not finite.
    """
    return _norm(list(_second_moments(state)))


def norm_of_biases(state: OptimizerState) -> float | None:
    """Return the same of biases, and of other vectors, alone."""
    return _norm([of for of in _second_moments(state) if len(of.moment.shape) == 1])


def _norm(moments: list[_SecondMoment]) -> float | None:
    started_at_one = bool(moments) and all(of.may_have_started_at_one for of in moments)
    total = rounding = 0.0
    for of in moments:
        squares = float(np.sum(as_numbers(of.moment), dtype=np.float64))
        if started_at_one:
            left = of.moment.numel * of.start
            squares -= left
            rounding += left * of.rounding / (1.0 - of.start)
        total += squares / (1.0 - of.start)
    if moments and not isfinite(total):
        return nan
    return sqrt(total) if moments and total >= rounding else None


class _SecondMoment(Struct, frozen=True):
    """A parameter's second moment after `step` updates with the factor `decay`."""

    moment: Tensor
    decay: float
    step: float
    key: str

    @property
    def start(self) -> float:
        """What is left of a start at 1."""
        return float(self.decay**self.step)

    @property
    def rounding(self) -> float:
        """The relative error of `start` in float32, which rounds at every step."""
        return 2.0 * self.step * float(np.finfo(np.float32).eps)

    @property
    def may_have_started_at_one(self) -> bool:
        """Whether no element is below what is left of that start: squares are only added."""
        if starting_at_one(self.key) is None:
            return False
        least = self.start * (1.0 - self.rounding)
        return bool(np.all(as_numbers(self.moment) >= least))


def _second_moments(state: OptimizerState) -> Iterator[_SecondMoment]:
    met: set[int] = set()
    for group in state.groups:
        # An entry may be listed twice, where a parameter was given to the optimizer twice.
        for number in group.params:
            if number in met:
                continue
            met.add(number)
            kept, step = state.moments.get(number, {}), state.step(number)
            key = next((k for k in SECOND_MOMENTS if isinstance(kept.get(k), Tensor)), None)
            if key is None or kept[key].is_expanded or not step or step < 1:
                continue
            decay = decay_of(key, group.options)
            if decay is not None:
                yield _SecondMoment(kept[key], decay, step, key)


RULE = Rule(
    code="SD303",
    name="exploding-gradients",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
    explains=(Symptom("value-out-of-bounds"),),
)
