"""JSON for scripts, version 1 of the schema; each kind of result has a file of its own.

A file is imported when its kind of result is written: all formats are loaded for `--help`.
"""

from __future__ import annotations

from typing import TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import (
    CheckupResult,
    DiffResult,
    FixResults,
    HistoryResult,
    ProbeResult,
    RulesResult,
    ScanResult,
    SummaryResult,
    WarmupResult,
    WatchResult,
)


def _scan(result: ScanResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.scan import render

    for piece in render(result):
        file.write(piece)


def _fix(result: FixResults, file: TextIO) -> None:
    from sacdoctor.report.formats.json.fix import render

    if result.results:
        file.write(render(result.results, result.configuration, several=result.several))


def _diff(result: DiffResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.diff import render

    file.write(render(result.difference))


def _history(result: HistoryResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.history import render

    file.write(render(result.history, result.configuration))


def _checkup(result: CheckupResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.checkup import render

    file.write(render(result.checkup, result.configuration))


def _watch(result: WatchResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.watch import render

    file.write(render(result.report, result.time, result.configuration))


def _warmup(result: WarmupResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.warmup import render

    file.write(render(result.report, result.cleaned, result.configuration))


def _probe(result: ProbeResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.probe import render

    file.write(render(result.report, result.configuration))


def _summary(result: SummaryResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.summary import render

    file.write(render(result.summary))


def _rules(result: RulesResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.rules import render

    file.write(render(result.rules))


FORMAT = Format(
    "json",
    "JSON for scripts",
    {
        ScanResult: _scan,
        FixResults: _fix,
        DiffResult: _diff,
        HistoryResult: _history,
        CheckupResult: _checkup,
        WatchResult: _watch,
        WarmupResult: _warmup,
        ProbeResult: _probe,
        SummaryResult: _summary,
        RulesResult: _rules,
    },
)
