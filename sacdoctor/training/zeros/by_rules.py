"""What the rules of `scan` find in a model that is training: the same rules, over its memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sacdoctor.diagnosis import examined
from sacdoctor.diagnosis.rules import findings, rule_named
from sacdoctor.model import Finding
from sacdoctor.options import ScanOptions
from sacdoctor.severity import Severity
from sacdoctor.training.live import InMemory, LiveFacts, LiveModel, is_target

_AT_ANY_TIME = ("learning-rate", "stale-target")
_ONCE_UPDATED = (
    "dead-weight",
    "exploded-weights",
    "exploding-gradients",
    "stopped-network",
    "entropy-collapse",
    "entropy-explosion",
    "exploration-collapse",
    "exploration-explosion",
)
"""Not those about biases, whose zeros a check judges by more than a file holds; nor those about
settings that doom a whole run, of which a trial of a thousand steps need not hear."""


def found_by_rules(live: LiveModel, settings: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return what rules find at warning or worse in a model as it is now.

    Frozen parameters are nobody's fault: a finding that names no others is left out.
    """
    names = _AT_ANY_TIME + (_ONCE_UPDATED if live.was_updated else ())
    examination = examined(LiveFacts(InMemory(live, settings)), ScanOptions())
    frozen = {
        name
        for name, parameter in live.parameters.items()
        if not parameter.requires_grad and not is_target(name)
    }
    return tuple(
        finding
        for finding in findings([examination], map(rule_named, names))
        if finding.severity.rank >= Severity.WARNING.rank
        and not (finding.tensors and frozen.issuperset(finding.tensors))
    )
