"""Results as plain data and in a few words, for the methods that they show themselves with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from sacdoctor.checkup import Checkup
from sacdoctor.diagnosis.warmup import WarmupReport
from sacdoctor.history import Difference, History, TensorStatus
from sacdoctor.model import Finding, Report
from sacdoctor.report.text import counted
from sacdoctor.report.verdict import verdict, verdict_of_run
from sacdoctor.severity import Status

_MOST_WORDS = 160

Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]
Result = Report | History | Difference | Checkup | WarmupReport


def document(result: Result) -> dict[str, Any]:
    """Return what the JSON format says of a result; of a report every tensor."""
    text = _text(result)
    read: dict[str, Any] = json.loads(text)
    return read


def _text(result: Result) -> str:
    from sacdoctor.report.formats.json import checkup, diff, history, scan, warmup
    from sacdoctor.report.results import ScanResult

    if isinstance(result, Report):
        return next(scan.lines(ScanResult([result], all_tensors=True)))
    if isinstance(result, History):
        return history.render(result)
    if isinstance(result, Checkup):
        return checkup.render(result)
    if isinstance(result, WarmupReport):
        return warmup.render(result)
    return diff.render(result)


def records(result: Result) -> list[dict[str, Any]]:
    """Return the rows of a result: its tensors, a run's checkpoints, or what was found."""
    whole = document(result)
    if isinstance(result, Report):
        return list(whole["layers"])
    if isinstance(result, History):
        return list(whole["checkpoints"])
    if isinstance(result, Difference):
        return list(whole["tensors"])
    return list(whole["findings"])


def words(result: Result) -> str:
    """Return what a result comes to, on one line."""
    if isinstance(result, Difference):
        changed = sum(tensor.status is not TensorStatus.IDENTICAL for tensor in result.tensors)
        of = f"{changed:,} of {counted(len(result.tensors), 'tensor')}"
        return f"{_name(result.a)} -> {_name(result.b)}: {of} changed"
    if isinstance(result, History):
        number = sum(len(run.snapshots) for run in result.runs)
        worst = Status.worst(result.statuses)
        return f"{_name(result.path)}: {worst}, {counted(number, 'checkpoint')}"
    if isinstance(result, Checkup):
        return _cut(f"{_name(result.path)}: {result.status}. {verdict_of_run(result)}")
    if isinstance(result, WarmupReport):
        return f"{_name(result.path)}: {result.status}, {_codes(result.findings)}"
    said = result.error if result.error is not None else verdict(result)
    return _cut(f"{_name(result.path)}: {result.status}. {said}")


def table(result: Result) -> Table:
    """Return the columns and rows that a person would look at first."""
    if isinstance(result, Difference):
        changed = [one for one in result.tensors if one.status is not TensorStatus.IDENTICAL]
        columns = ("tensor", "status", "changed", "largest", "relative L2")
        return columns, [
            (
                one.name,
                one.status,
                _figure(one.changed),
                _figure(one.max_abs),
                _figure(one.relative_l2),
            )
            for one in changed
        ]
    if isinstance(result, History):
        return ("steps", "status", "file", "findings"), [
            (
                _figure(snapshot.report.num_timesteps),
                snapshot.report.status,
                _name(snapshot.report.path),
                ", ".join(finding.rule for finding in snapshot.report.findings),
            )
            for run in result.runs
            for snapshot in run.snapshots
        ]
    findings: Iterable[Finding] = (
        [concern.finding for concern in result.concerns]
        if isinstance(result, Checkup)
        else result.findings
    )
    return ("rule", "name", "severity", "what", "do"), [
        (one.rule, one.name, one.severity, one.message, one.remedy) for one in findings
    ]


def _codes(findings: Iterable[Finding]) -> str:
    return ", ".join(finding.rule for finding in findings) or "nothing found"


def _figure(number: float | None) -> str:
    return "" if number is None else f"{number:,}" if isinstance(number, int) else f"{number:.3g}"


def _name(path: str) -> str:
    return PurePath(path).name or path


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_WORDS else line[:_MOST_WORDS] + " …"
