"""Clipping by value: gradients element by element, or PPO's value function.

## What it does
Reports a `clip_grad_value` in the settings (SB3 has no such setting; subclasses and trading scripts
do), and, as a notice, PPO's `clip_range_vf`.

## Why is this bad
Clipping each gradient element by itself changes the gradient's direction, not only its length.
Clipping the value function limits how far it may move in one update, in the units of the return:
with returns of 1,000 and a range of 0.2 the critic hardly learns.

## Example
`clip_grad_value: 0.5` beside `max_grad_norm: 1.0`; `PPO(..., clip_range_vf=0.001)`.

## Use instead
`max_grad_norm` alone; `clip_range_vf=None`, SB3's default, unless the returns are normalised.

## Fix safety
`fix-config` removes `clip_grad_value` from settings files; the checkpoint is not changed.

## References
- Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", section 3.2
- SB3 docs, PPO: "this clipping depends on the reward scaling"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.settings import judge_clip_grad_value
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding for each kind of clipping by value that is on."""
    settings = examination.facts.checkpoint.hyperparameters
    value = settings.number("clip_grad_value")
    verdict = judge_clip_grad_value(value)
    if verdict is not None:
        yield RULE.finding(
            verdict.severity,
            f"clip_grad_value is {value:g}",
            evidence=verdict.message,
            remedy="Remove it and clip by norm: `sacdoctor fix-config` does so in a settings file.",
        )
    if settings.get("clip_range_vf") is not None:
        number = settings.number("clip_range_vf")
        yield RULE.finding(
            Severity.NOTICE,
            "PPO's value function is clipped",
            evidence=(
                f"clip_range_vf is {'a schedule' if number is None else f'{number:g}'}; SB3's "
                "default is None, because the right range depends on the scale of the returns"
            ),
            remedy="Set clip_range_vf=None unless the returns are normalised.",
        )


RULE = Rule(
    code="SD403",
    name="value-clipping",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(Examination, check),),
    cured_by=("fix-config",),
)
