"""The page of a history: the course of each run, and what its checkpoints and logs show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from sacdoctor.checkup import timeline
from sacdoctor.history import History
from sacdoctor.model import Finding
from sacdoctor.report.formats.html.course import COLUMNS, courses
from sacdoctor.report.formats.html.page import write_page
from sacdoctor.report.results import HistoryResult
from sacdoctor.report.verdict import verdict_of_history


def write(result: HistoryResult, file: TextIO) -> None:
    """Write the page to a text file."""
    history = result.history
    status, verdict = verdict_of_history(history)
    write_page(
        "history",
        file,
        history=history,
        configuration=result.configuration,
        status=status,
        verdict=verdict,
        courses=courses(history.runs_with_checkpoints, history.curves, timeline(history)),
        columns=COLUMNS,
        findings=list(_findings(history)),
    )


def _findings(history: History) -> Iterator[tuple[Finding, tuple[str, ...]]]:
    """Yield each finding with the places that show it: of runs, of code, of logs, of the newest."""
    found: dict[Finding, list[str]] = {}
    for run in history.runs:
        for finding in run.findings:
            found.setdefault(finding, []).append(f"the checkpoints of {run.name}")
        for path, finding in run.code:
            found.setdefault(finding, []).append(path)
        for snapshot in [one for one in run.snapshots if not one.is_repaired][-1:]:
            for finding in snapshot.report.findings:
                if not finding.in_passing and (snapshot.report.path, finding) not in run.code:
                    found.setdefault(finding, []).append(snapshot.report.path)
    for of in history.logged:
        found.setdefault(of.finding, []).append(of.log)
    for finding in sorted(found, key=lambda one: -one.severity.rank):
        yield finding, tuple(found[finding])
