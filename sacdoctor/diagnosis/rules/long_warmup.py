"""A warm-up that lasts too long.

## What it does
Judges the length of the warm-up with forced actions: as found at the head of a replay buffer
(`sacdoctor warmup`), or as `no_trading_warmup_steps` says in a settings file. Above 10,000 steps it
is too long.

## Why is this bad
The replay buffer fills with actions that the agent never chose, and they stay in it for as long as
it takes to overwrite them.

## Example
`no_trading_warmup_steps: 20000`.

## Use instead
5,000 steps or less. In `benchmarks/warmup.py` no warm-up was worth it in itself.

## Fix safety
Settings can be corrected by `sacdoctor fix-config`; the transitions by
`sacdoctor warmup --clean OUT.pkl`.

## References
- Ranges and their sources: `sacdoctor/settings/ranges.py`
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.warmup_facts import JudgedSetting, Warmup
from sacdoctor.model import Finding
from sacdoctor.settings import Verdict, judge_warmup_steps
from sacdoctor.severity import Severity


def check(warmup: Warmup) -> Iterator[Finding]:
    """Yield a finding where the forced actions that were met are too many."""
    verdict = judge_warmup_steps(warmup.steps)
    if verdict is not None:
        yield _finding(
            verdict,
            warmup.steps,
            f"Force at most {verdict.recommended:,.0f} steps; `sacdoctor warmup BUFFER --clean "
            f"OUT{warmup.ending}` takes the transitions out of the buffer.",
        )


def check_setting(setting: JudgedSetting) -> Iterator[Finding]:
    """Yield a finding where settings ask for too many."""
    verdict = setting.verdict
    if verdict.key == "no_trading_warmup_steps" and verdict.value is not None:
        yield _finding(verdict, verdict.value, "`sacdoctor fix-config FILE --write` corrects it.")


def _finding(verdict: Verdict, steps: float, remedy: str) -> Finding:
    return RULE.finding(
        verdict.severity,
        f"the warm-up lasts {steps:,.0f} steps",
        evidence=verdict.message,
        remedy=remedy,
    )


RULE = Rule(
    code="SD502",
    name="long-warmup",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(Warmup, check), Check(JudgedSetting, check_setting)),
    cured_by=("fix-config", "warmup --clean OUT.pkl"),
)
