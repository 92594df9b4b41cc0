"""Rules are chosen by code, prefix or name; what is not chosen neither speaks nor counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacdoctor import Report, ScanOptions, scan
from sacdoctor.diagnosis.rules.registry import RULES, selected

ALL = [rule.code for rule in RULES]


def codes(report: Report) -> list[str]:
    return [finding.rule for finding in report.findings]


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        ((), (), ALL),
        (("SD",), (), ALL),
        (("SD101",), (), ["SD101"]),
        (("SD2",), (), [code for code in ALL if code.startswith("SD2")]),
        (
            ("SD504", "SD10"),
            (),
            [code for code in ALL if code.startswith("SD10") or code == "SD504"],
        ),
        (("SD10",), ("SD104", "SD102", "SD105", "SD106", "SD107"), ["SD101", "SD103"]),
        (
            (),
            ("SD1", "SD2", "SD3", "SD4", "SD5", "SD9"),
            [code for code in ALL if code[2] in "678"],
        ),
        (("SD202",), ("SD202",), []),
        ((), ("SD",), []),
        (("unsafe-pickle",), (), ["SD601"]),
        (("SD70", "dead-bias"), ("unreadable",), ["SD101", "SD701"]),
    ],
    ids=str,
)
def test_selected_rules(
    select: tuple[str, ...], ignore: tuple[str, ...], expected: list[str]
) -> None:
    assert [rule.code for rule in selected(select, ignore)] == expected


@pytest.mark.parametrize(
    "code", ["SD999", "sd101", "E501", "SD1011", "dead-", "Dead-Bias", " SD101"]
)
def test_code_that_no_rule_has_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="no rule"):
        selected((code,), ())
    with pytest.raises(ValueError, match="no rule"):
        selected((), (code,))


def test_scan_runs_all_rules_unless_told_otherwise(broken: Path) -> None:
    assert codes(scan(broken)) == ["SD101", "SD202", "SD401"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ScanOptions(select=("SD2",)), ["SD202"]),
        (ScanOptions(select=("SD1", "SD4")), ["SD101", "SD401"]),
        (ScanOptions(ignore=("SD202",)), ["SD101", "SD401"]),
        (ScanOptions(select=("SD1", "SD2"), ignore=("SD20",)), ["SD101"]),
        (ScanOptions(select=("SD7",)), []),
    ],
    ids=str,
)
def test_scan_reports_only_selected_rules(
    broken: Path, options: ScanOptions, expected: list[str]
) -> None:
    assert codes(scan(broken, options)) == expected


def test_layers_and_causes_are_shown_whatever_is_selected(broken: Path) -> None:
    assert scan(broken, ScanOptions(select=("SD301",))).layers == scan(broken).layers


def test_status_is_that_of_what_was_selected(broken: Path) -> None:
    assert scan(broken, ScanOptions(select=("SD4",))).status == "critical"
    assert scan(broken, ScanOptions(select=("SD3",))).status == "healthy"
    assert scan(broken, ScanOptions(ignore=("SD1", "SD2", "SD4"))).status == "healthy"


def test_worst_findings_come_first(broken: Path) -> None:
    ranks = [finding.severity.rank for finding in scan(broken).findings]
    assert ranks == sorted(ranks, reverse=True)


def test_scan_refuses_a_code_that_no_rule_has(broken: Path) -> None:
    with pytest.raises(ValueError, match="SD999"):
        scan(broken, ScanOptions(select=("SD999",)))
