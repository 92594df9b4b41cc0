"""Annotations: each is one command on one line, whatever is in the names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sacdoctor import Report, Severity, scan
from sacdoctor.model import Finding
from sacdoctor.report.baseline import baseline_text, read_baseline
from sacdoctor.report.results import Judge
from sacdoctor.severity import Status
from tests.report.formats.reports import fails, hostile, shown, unreadable

COMMAND = re.compile(r"::(error|warning|notice) file=([^,:]*),title=([^,:]*)::([^\r\n]*)")


def annotations(*reports: Report, judge: Judge | None = None) -> list[tuple[str, ...]]:
    *lines, last = shown("github", *reports, judge=judge).splitlines()
    assert last.startswith("sacdoctor: ")
    found = [COMMAND.fullmatch(line) for line in lines]
    assert all(found)
    return [match.groups() for match in found if match]


def unescaped(text: str) -> str:
    """As the runner reads it (actions/runner, ActionCommand)."""
    for code, sign in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def test_a_finding_is_an_annotation_of_its_file(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(broken.parent)
    level, place, title, text = annotations(scan(broken))[1]
    assert (level, place, title) == ("error", "two_head_broken.zip", "SD202 not-in-optimizer")
    first, *_, last = unescaped(text).split("\n")
    assert first == "91 parameters in 44 layers are in no optimizer and never learn"
    assert last.strip().startswith("RecurrentPPO.load(")


def test_no_name_becomes_a_command_of_its_own(tmp_path: Path) -> None:
    path = hostile(tmp_path)
    ((level, place, _, text),) = annotations(scan(path))
    assert level == "error"
    assert unescaped(place) == path.name
    assert "::error::@me" in unescaped(text)


def test_the_worst_come_first(tmp_path: Path) -> None:
    levels = [Severity.NOTICE, Severity.CRITICAL, Severity.WARNING]
    found = tuple(Finding("SD401", "learning-rate", one, (), "m", "e", "r") for one in levels)
    report = Report(str(tmp_path / "m.zip"), Status.CRITICAL, findings=found)
    assert [one[0] for one in annotations(report)] == ["error", "warning", "notice"]


def test_healthy_files_are_counted_and_no_more(healthy: Path) -> None:
    assert shown("github", scan(healthy)) == "sacdoctor: 1 file: 1 healthy\n"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    ((level, _, title, text),) = annotations(unreadable(tmp_path))
    assert (level, title) == ("error", "SD702 unreadable")
    assert "it is a folder" in text


def test_what_a_baseline_knows_is_left_out(broken: Path, tmp_path: Path) -> None:
    report, path = scan(broken), tmp_path / "known.json"
    path.write_text(baseline_text([(report.path, one) for one in report.findings[:2]], path))
    judge = Judge(fails(Severity.CRITICAL), read_baseline(path))
    assert [one[2] for one in annotations(report, judge=judge)] == ["SD401 learning-rate"]
