"""Tables for people, as wide as the terminal; each kind of result has a file of its own.

A file is imported when its kind of result is written: rich takes longer to load than a scan.
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
)


def _scan(result: ScanResult, file: TextIO) -> None:
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.scan import print_reports

    print_reports(
        console(file),
        result.reports,
        all_tensors=result.all_tensors,
        verbose=result.verbose,
        quiet=result.quiet,
        judge=result.judge,
    )


def _fix(result: FixResults, file: TextIO) -> None:
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.fix import print_result

    for one in result.results:
        print_result(console(file), one, dry_run=result.dry_run)


def _diff(result: DiffResult, file: TextIO) -> None:
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.diff import print_difference

    print_difference(console(file), result.difference, result.all_tensors)


def _history(result: HistoryResult, file: TextIO) -> None:
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.history import print_history

    print_history(console(file), result.history)


def _checkup(result: CheckupResult, file: TextIO) -> None:
    from sacdoctor.report.formats.table.checkup import print_checkup
    from sacdoctor.report.formats.table.console import console

    print_checkup(console(file), result.checkup)


def _warmup(result: WarmupResult, file: TextIO) -> None:
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.warmup import print_warmup

    print_warmup(console(file), result.report, result.cleaned)


def _probe(result: ProbeResult, file: TextIO) -> None:
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.probe import print_probe

    print_probe(console(file), result.report)


def _summary(result: SummaryResult, file: TextIO) -> None:
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.summary import print_summary

    print_summary(console(file), result.summary)


def _rules(result: RulesResult, file: TextIO) -> None:
    from sacdoctor.report.formats.table.console import console
    from sacdoctor.report.formats.table.rules import markdown, print_explanations, print_listing

    if not result.in_full:
        print_listing(console(file), result.rules)
    elif file.isatty():
        print_explanations(console(file), result.rules)
    else:
        file.write("\n\n".join(map(markdown, result.rules)) + "\n")


FORMAT = Format(
    "table",
    "a table for people",
    {
        ScanResult: _scan,
        FixResults: _fix,
        DiffResult: _diff,
        HistoryResult: _history,
        CheckupResult: _checkup,
        WarmupResult: _warmup,
        ProbeResult: _probe,
        SummaryResult: _summary,
        RulesResult: _rules,
    },
)
