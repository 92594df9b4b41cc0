"""The rules: one file each, with its code, name, explanation and check; see `registry`."""

from sacdoctor.diagnosis.rules.exploding_gradients import estimated_gradient_norm
from sacdoctor.diagnosis.rules.interface import Rule, Subject, within
from sacdoctor.diagnosis.rules.registry import (
    RULES,
    Found,
    as_spelled,
    causes,
    findings,
    rule_named,
    rule_of,
    selected,
)

__all__ = [
    "RULES",
    "Found",
    "Rule",
    "Subject",
    "as_spelled",
    "causes",
    "estimated_gradient_norm",
    "findings",
    "rule_named",
    "rule_of",
    "selected",
    "within",
]
