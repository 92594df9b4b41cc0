"""SARIF 2.1.0, which code scanning and many viewers read.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0; what GitHub reads
of it: docs.github.com, "SARIF support for code scanning".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import CheckupResult, ScanResult, WarmupResult
from sacdoctor.severity import Severity

if TYPE_CHECKING:
    from sacdoctor.diagnosis.rules import Rule
    from sacdoctor.report.looked_at import Looked, Told

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS = {Severity.CRITICAL: "error", Severity.WARNING: "warning", Severity.NOTICE: "note"}
_MOST_TENSORS = 100
"""Logical locations of a result: GitHub shows so many."""


def _write(result: ScanResult | CheckupResult | WarmupResult, file: TextIO) -> None:
    from sacdoctor.diagnosis.rules import rule_of
    from sacdoctor.report.formats.json.schema import written
    from sacdoctor.report.looked_at import looked_at
    from sacdoctor.version import __version__

    files = list(looked_at(result))
    told = [one for looked in files for one in looked.told]
    rules = {rule.code: rule for rule in map(rule_of, (one.finding for one in told))}
    codes = sorted(rules)
    failures = [_failure(looked) for looked in files if not looked.is_readable]
    invocation: dict[str, Any] = {"executionSuccessful": not failures}
    if failures:
        invocation["toolExecutionNotifications"] = failures
    driver = {
        "name": "sacdoctor",
        "version": __version__,
        "rules": [_rule(rules[c]) for c in codes],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": [
            _result(one, codes, has_baseline=result.judge.baseline is not None) for one in told
        ],
    }
    file.write(written({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}) + "\n")


def _scan(result: ScanResult, file: TextIO) -> None:
    _write(result, file)


def _checkup(result: CheckupResult, file: TextIO) -> None:
    _write(result, file)


def _warmup(result: WarmupResult, file: TextIO) -> None:
    _write(result, file)


def _rule(rule: Rule) -> dict[str, Any]:
    text = rule.explanation or rule.name
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary or rule.name},
        "help": {"text": text, "markdown": text},
        "defaultConfiguration": {"level": _LEVELS[rule.severities[0]]},
    }


def _result(told: Told, codes: Sequence[str], *, has_baseline: bool) -> dict[str, Any]:
    rule = told.finding.rule
    result = {
        "ruleId": rule,
        "ruleIndex": codes.index(rule),
        "level": _LEVELS[told.severity],
        "message": {"text": _message(told.text)},
        "locations": [_location(told.path, told.finding.tensors)],
        "partialFingerprints": {"findingHash/v1": _fingerprint(told)},
    }
    if has_baseline:  # then one without suppressions is a new one
        reason = {"kind": "external", "justification": "the baseline has it"}
        result["suppressions"] = [reason] if told.is_known else []
    return result


def _failure(looked: Looked) -> dict[str, Any]:
    return {
        "level": "error",
        "message": {"text": _message(looked.words)},
        "locations": [_location(looked.path, ())],
    }


def _location(path: str, tensors: Sequence[str]) -> dict[str, Any]:
    """Return the place of a file; a checkpoint has no lines, and GitHub shows none without one."""
    from sacdoctor.printable import printable

    names = dict.fromkeys(printable(name) for name in tensors[:_MOST_TENSORS])
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(path)},
            "region": {"startLine": 1},
        }
    }
    if names:
        location["logicalLocations"] = [
            {"fullyQualifiedName": name, "kind": "member"} for name in names
        ]
    return location


def _uri(path: str) -> str:
    """Return a file as a URI, relative where it lies below the working folder."""
    from urllib.parse import quote

    from sacdoctor.fleet import is_address
    from sacdoctor.report.looked_at import from_here

    if is_address(path):
        return quote(path, safe="/:?&=%@[]+,;!*'()~")
    place = from_here(path)
    if place == "-":
        return "stdin"
    # A colon in the first part of a relative reference would make a scheme of it (RFC 3986, 4.2).
    return quote(place, safe="/") if not place.startswith("/") else f"file://{quote(place)}"


def _fingerprint(told: Told) -> str:
    """Return what stays the same for a finding from run to run, though its figures change."""
    from hashlib import sha256

    from sacdoctor.report.baseline import in_outline
    from sacdoctor.report.looked_at import from_here

    about = sorted(told.finding.tensors) or [in_outline(told.finding.message)]
    parts = (from_here(told.path), told.finding.rule, *about)
    return sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()


def _message(text: str) -> str:
    """Return text as a SARIF message: braces doubled, and no link of what looks like one.

    Source: sections 3.11.5 (placeholders) and 3.11.6 (embedded links).
    """
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")


FORMAT = Format(
    "sarif",
    "SARIF for code scanning",
    {ScanResult: _scan, CheckupResult: _checkup, WarmupResult: _warmup},
)
