"""Gradient clipping that is too tight, too loose, or off.

## What it does
Judges `max_grad_norm` of the algorithms that have it (PPO, A2C, DQN, QRDQN and their kin). What an
SB3 constructor sets by itself is never reported.

## Why is this bad
Below 0.5 most updates are cut short, and training crawls; above 5 (DQN: 10) a gradient that
explodes passes. Down to 0.3, the tightest that rl-zoo tuned, it is a notice.

## Example
`PPO(..., max_grad_norm=100)`.

## Use instead
1.0, or SB3's default.

## Fix safety
Safe: `sacdoctor fix --max-grad-norm 1.0`.

## References
- Ranges and their sources: `sacdoctor/settings/ranges.py`
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.settings import judge_max_grad_norm
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield a finding where `max_grad_norm` is set and not safe."""
    checkpoint = examination.facts.checkpoint
    norm = checkpoint.hyperparameters.number("max_grad_norm")
    verdict = judge_max_grad_norm(checkpoint.algorithm, norm) if norm is not None else None
    if norm is None or verdict is None:
        return
    remedy = f"`sacdoctor fix --max-grad-norm {verdict.recommended:g}` corrects it in the file."
    if not verdict.must_change:
        remedy = (
            "Leave it if training goes well. If it crawls, "
            f"`sacdoctor fix --max-grad-norm {verdict.recommended:g}`."
        )
    yield RULE.finding(
        verdict.severity,
        f"max_grad_norm is {norm:g}",
        evidence=verdict.message,
        remedy=remedy,
    )


RULE = Rule(
    code="SD402",
    name="gradient-clipping",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING, Severity.NOTICE),
    checks=(Check(Examination, check),),
    cured_by=("fix --max-grad-norm NORM",),
)
