"""What the documents of all verbs share: names in the schema are a promise to CI scripts."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from msgspec.structs import asdict

from sacdoctor.model import Finding, Summary
from sacdoctor.printable import escaped
from sacdoctor.report.results import Configuration

SCHEMA_VERSION = 1
DECIMALS = 4


def head_document(configuration: Configuration | None) -> dict[str, Any]:
    """Return what a document begins with; a settings file is in it that changes the verdict."""
    head: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    if configuration is not None:
        head["configuration"] = {
            "path": configuration.path,
            "named": configuration.is_named,
            "settings": configuration.settings,
            "held": configuration.held,
        }
    return head


def written(document: dict[str, Any], *, indent: int | None = 1) -> str:
    """Return the document as JSON in ASCII, without control characters.

    JSON allows DEL, and Python leaves it; here it can stand in texts only.
    """
    return escaped(json.dumps(document, indent=indent, allow_nan=False))


def summary_document(counts: Summary) -> dict[str, Any]:
    """Return the counts as the schema names them."""
    return {**asdict(counts), "zero_percent": round(counts.zero_percent, DECIMALS)}


def finding_document(finding: Finding) -> dict[str, Any]:
    """Return a finding as the schema names its parts."""
    return {
        "rule": finding.rule,
        "name": finding.name,
        "severity": finding.severity,
        "tensors": list(finding.tensors),
        "message": finding.message,
        "evidence": finding.evidence,
        "remedy": finding.remedy,
    }


def finite(number: float | None) -> float | None:
    """Return a number that JSON can hold, None for NaN and the infinities."""
    return number if number is not None and isfinite(number) else None
