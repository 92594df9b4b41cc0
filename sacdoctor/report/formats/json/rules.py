"""The rules as JSON, version 1 of the schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacdoctor.diagnosis.rules import Rule
from sacdoctor.report.formats.json.schema import SCHEMA_VERSION, written


def render(rules: Sequence[Rule]) -> str:
    """Return one JSON document over the rules, in the order of their codes."""
    document = {"schema_version": SCHEMA_VERSION, "rules": [_rule(rule) for rule in rules]}
    return written(document) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "code": rule.code,
        "name": rule.name,
        "severities": list(rule.severities),
        "looks_at": [check.looks_at.in_words() for check in rule.checks],
        "cured_by": [f"sacdoctor {command}" for command in rule.cured_by],
        "summary": rule.summary,
        "explanation": rule.explanation,
    }
