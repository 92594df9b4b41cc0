"""A model that was saved before its first update.

## What it does
Reports biases that are zero because nothing was trained yet: the optimizers hold no moments, and
the counters (`_n_updates`, `num_timesteps` against `learning_starts`) agree.

## Why is this bad
It is not, unless you thought the model was trained. SB3 starts the biases of on-policy policies at
zero. The severity never exceeds warning.

## Example
A `CheckpointCallback` that fires before `learning_starts`, or `model.save()` before `learn()`.

## Use instead
Scan a checkpoint from after the first updates.

## Fix safety
Re-drawing harms nothing and is not needed: the first update does as much.

## References
- SB3: `ActorCriticPolicy.init_weights` fills biases with 0
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wording import cause_finding
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all biases that are zero because nothing was trained."""
    yield from cause_finding(
        RULE,
        examination,
        Cause.UNTRAINED,
        "zero because the model was never trained",
        "Scan a checkpoint from after the first updates.",
    )


RULE = Rule(
    code="SD201",
    name="untrained",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
    about_zeros=True,
    takes_initial_zeros=True,
)
