"""What each file of a result comes to: the part that formats for CI share, whatever the verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sacdoctor.checkup import Checkup, Concern
from sacdoctor.model import Finding, Report
from sacdoctor.printable import printable
from sacdoctor.report.results import CheckupResult, Judge, ScanResult, WarmupResult
from sacdoctor.report.text import counted, printable_lines
from sacdoctor.report.verdict import verdict, verdict_of_run
from sacdoctor.severity import Severity, Status

MOST_LINES = 12
"""Lines of evidence that are shown; a hostile file can name thousands of things."""
_MOST_CHARACTERS = 2_000
"""Of a text from a file, which may be a megabyte on one line."""
_MOST_PLACES = 5


class Told(NamedTuple):
    """A finding about a file: whether the command exits with 1 for it, or a baseline knows it."""

    path: str
    finding: Finding
    fails: bool
    is_known: bool

    @property
    def title(self) -> str:
        """Its rule's code and name."""
        return f"{self.finding.rule} {self.finding.name}"

    @property
    def severity(self) -> Severity:
        return self.finding.severity

    @property
    def message(self) -> str:
        """What is wrong, on one line."""
        return printable(_cut(self.finding.message))

    @property
    def evidence(self) -> str:
        """The numbers that show it, on at most `MOST_LINES` lines."""
        lines = printable_lines(_cut(self.finding.evidence)).split("\n")
        return "\n".join(lines[:MOST_LINES] + ["…"] * (len(lines) > MOST_LINES))

    @property
    def remedy(self) -> str:
        """What to do; lines of code in it begin with four spaces."""
        return printable_lines(_cut(self.finding.remedy))

    @property
    def text(self) -> str:
        """All that a person should read, line by line."""
        return "\n".join(filter(None, (self.message, self.evidence, f"Do: {self.remedy}")))


class Looked(NamedTuple):
    """A file, or a run, that was looked at; `words` say how it is, or why it cannot be read."""

    path: str
    status: Status
    words: str
    told: tuple[Told, ...]

    @property
    def is_readable(self) -> bool:
        return self.status is not Status.ERROR


def looked_at(result: ScanResult | CheckupResult | WarmupResult) -> Iterator[Looked]:
    """Yield what a result is about, one after the other as it comes."""
    judge = result.judge
    if isinstance(result, ScanResult):
        yield from (_of_report(report, judge) for report in result.reports)
    elif isinstance(result, CheckupResult):
        yield _of_checkup(result.checkup, judge)
        yield from (_of_report(report, judge) for report in result.checkup.unreadable)
    else:
        audit = result.report
        told = _told(audit.path, audit.findings, judge)
        words = told[0].message if told else "no forced actions were found"
        yield Looked(printable(audit.path), audit.status, words, told)


def _of_report(report: Report, judge: Judge) -> Looked:
    words = verdict(report) if report.error is None else report.error
    told = _told(report.path, report.findings, judge)
    return Looked(printable(report.path), report.status, printable(_cut(words)), told)


def _of_checkup(checkup: Checkup, judge: Judge) -> Looked:
    told = _told(checkup.path, map(_placed, checkup.concerns), judge)
    return Looked(printable(checkup.path), checkup.status, printable(verdict_of_run(checkup)), told)


def _placed(concern: Concern) -> Finding:
    """Return the finding of a concern, with the files that show it in its evidence."""
    finding = concern.finding
    places, more = concern.where[:_MOST_PLACES], len(concern.where) - _MOST_PLACES
    shown = f"in {', '.join(places)}" + (f" and {counted(more, 'more')}" if more > 0 else "")
    return Finding(
        finding.rule,
        finding.name,
        finding.severity,
        finding.tensors,
        finding.message,
        f"{finding.evidence}\n{shown}" if places else finding.evidence,
        finding.remedy,
        finding.in_passing,
    )


def _told(path: str, findings: Iterable[Finding], judge: Judge) -> tuple[Told, ...]:
    return tuple(
        Told(printable(path), one, judge.fails(one) and not known, known)
        for one in findings
        for known in [judge.knows(path, one)]
    )


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " …"


def from_here(path: str) -> str:
    """Return a path as CI names files: from the folder that the command runs in, with slashes.

    What lies elsewhere keeps its whole path.
    """
    from sacdoctor.fleet import is_address

    if is_address(path):
        return path
    place = Path(path)
    try:
        if place.is_absolute() and place.is_relative_to(Path.cwd()):
            place = place.relative_to(Path.cwd())
    except OSError:  # somebody removed it
        pass
    return place.as_posix()
