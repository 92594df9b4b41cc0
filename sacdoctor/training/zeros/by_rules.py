"""What the rules of `scan` find in a model that is training: the same rules, over its memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sacdoctor.diagnosis import examined
from sacdoctor.diagnosis.rules import (
    dead_weight,
    entropy_collapse,
    entropy_explosion,
    exploded_weights,
    exploding_gradients,
    exploration_collapse,
    exploration_explosion,
    findings,
    learning_rate,
    stale_target,
    stopped_network,
)
from sacdoctor.model import Finding
from sacdoctor.options import ScanOptions
from sacdoctor.severity import Severity
from sacdoctor.training.live import InMemory, LiveFacts, LiveModel, is_target

_AT_ANY_TIME = (learning_rate.RULE, stale_target.RULE)
_ONCE_UPDATED = (
    dead_weight.RULE,
    exploded_weights.RULE,
    exploding_gradients.RULE,
    stopped_network.RULE,
    entropy_collapse.RULE,
    entropy_explosion.RULE,
    exploration_collapse.RULE,
    exploration_explosion.RULE,
)
"""Not those about biases, whose zeros a check judges by more than a file holds; nor those about
settings that doom a whole run, of which a trial of a thousand steps need not hear."""


def found_by_rules(live: LiveModel, settings: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return what rules find at warning or worse in a model as it is now.

    Frozen parameters are nobody's fault: a finding that names no others is left out.
    """
    rules = _AT_ANY_TIME + (_ONCE_UPDATED if live.was_updated else ())
    examination = examined(LiveFacts(InMemory(live, settings)), ScanOptions())
    frozen = {
        name
        for name, parameter in live.parameters.items()
        if not parameter.requires_grad and not is_target(name)
    }
    return tuple(
        finding
        for finding in findings([examination], rules)
        if finding.severity.rank >= Severity.WARNING.rank
        and not (finding.tensors and frozen.issuperset(finding.tensors))
    )
