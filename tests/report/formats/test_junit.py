"""JUnit XML: what a reader that is not ours makes of it is what was found."""

from __future__ import annotations

from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from sacdoctor import Report, Severity, scan
from sacdoctor.report.baseline import baseline_text, read_baseline
from sacdoctor.report.results import Judge
from tests.report.formats.reports import all_kinds, fails, hostile, shown, unreadable


def suites(*reports: Report, judge: Judge | None = None) -> list[TestSuite]:
    text = shown("junit", *reports, judge=judge)
    return [*JUnitXml.fromstring(text.partition("\n")[2])]


def outcomes(suite: TestSuite) -> dict[str, list[type]]:
    return {case.name: [type(result) for result in case.result] for case in suite}


def test_a_suite_per_file_and_a_failure_per_finding(healthy: Path, broken: Path) -> None:
    good, bad = suites(scan(healthy), scan(broken))
    assert (good.name, outcomes(good)) == (str(healthy), {"nothing found": []})
    assert outcomes(bad) == {
        "SD101 dead-bias": [Failure],
        "SD202 not-in-optimizer": [Failure],
        "SD401 learning-rate": [Failure],
    }
    assert (bad.tests, bad.failures, bad.errors, bad.skipped) == (3, 3, 0, 0)


def test_a_failure_is_what_the_exit_code_goes_by(broken: Path) -> None:
    (suite,) = suites(scan(broken), judge=Judge(fails()))
    assert [*outcomes(suite).values()] == [[], [], []]
    assert suite.failures == 0


def test_what_a_baseline_knows_is_skipped(broken: Path, tmp_path: Path) -> None:
    report, path = scan(broken), tmp_path / "known.json"
    path.write_text(baseline_text([(report.path, report.findings[0])], path))
    (suite,) = suites(report, judge=Judge(fails(Severity.CRITICAL), read_baseline(path)))
    assert [*outcomes(suite).values()] == [[Skipped], [Failure], [Failure]]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (suite,) = suites(unreadable(tmp_path))
    (case,) = suite
    (error,) = case.result
    assert isinstance(error, Error)
    assert error.message == "it is a folder"


def test_names_from_files_stay_text(tmp_path: Path) -> None:
    (suite,) = suites(scan(hostile(tmp_path)))
    (case,) = suite
    assert isinstance(case, TestCase)
    assert "<img src=x>](http://e.x)" in case.result[0].text
    assert "]]>&\\x1b[31m\\u202e" in case.result[0].text


def test_totals_are_those_of_the_suites(healthy: Path, broken: Path, tmp_path: Path) -> None:
    text = shown("junit", *all_kinds(healthy, broken, tmp_path))
    whole = JUnitXml.fromstring(text.partition("\n")[2])
    assert (whole.tests, whole.failures, whole.errors) == (6, 4, 1)
