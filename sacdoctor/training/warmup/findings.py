"""What is found wrong with a warm-up before any step of it is taken."""

from __future__ import annotations

from msgspec import Struct

from sacdoctor.diagnosis.rules import Rule
from sacdoctor.diagnosis.rules import long_warmup as rule
from sacdoctor.settings import judge_warmup_steps


class WarmupFinding(Struct, frozen=True):
    """What the check at the start of training found: a rule's code and name, and a sentence."""

    code: str
    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.code} {self.name}: {self.message}"


def finding_of(rule: Rule, message: str) -> WarmupFinding:
    """Return a finding of this rule."""
    return WarmupFinding(rule.code, rule.name, message)


def long_warmup(steps: int) -> tuple[WarmupFinding, ...]:
    """Return the finding about a warm-up that is too long, if it is (SD502)."""
    verdict = judge_warmup_steps(steps)
    if verdict is None:
        return ()
    return (finding_of(rule.RULE, f"a warm-up of {steps:,} steps: {verdict.message}"),)
