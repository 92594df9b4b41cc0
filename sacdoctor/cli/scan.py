"""`sacdoctor scan`: which biases are zero, in which layer, gate and part of the agent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from sacdoctor.cli.options import (
    TABLE,
    ConfigOption,
    CriticalOption,
    FailOnOption,
    IgnoreOption,
    OutputOption,
    SelectOption,
    TrustOption,
    WarningOption,
    format_option,
)
from sacdoctor.cli.outcome import TROUBLE, complain
from sacdoctor.cli.terminal import open_output, progress
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import ScanResult
from sacdoctor.severity import Status

_SILENT = {Status.UNKNOWN, Status.NOTICE}
"""With which a scan ends as if all were well."""

if TYPE_CHECKING:
    from sacdoctor.fleet import Target
    from sacdoctor.model import Finding, Report, Unjudged
    from sacdoctor.options import ScanOptions
    from sacdoctor.severity import Severity


def scan(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Checkpoints (.zip, or a bare .pth/.pt/.safetensors), folders (every .zip "
            "below, and every pickle where SD6 alone is selected) or patterns. `model` finds "
            "model.zip.",
        ),
    ],
    format: Annotated[str, format_option(ScanResult)] = TABLE,
    output: OutputOption = None,
    warning: WarningOption = None,
    critical: CriticalOption = None,
    fail_on: FailOnOption = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Look only at tensors whose name matches."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Do not look at tensors whose name matches."),
    ] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    trust: TrustOption = None,
    config: ConfigOption = None,
    all_tensors: Annotated[
        bool, typer.Option("--all", help="List every tensor, not only biases in trouble.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Of several files show all in full, not the bad alone."),
    ] = False,
) -> int:
    """Show which biases are zero and why: per layer, per gate, per part of the agent.

    Nothing in a checkpoint is executed. Exit codes: 0 clean, 1 findings, 2 wrong usage, something
    unreadable, or not one tensor to judge.
    """
    from sacdoctor.cli.asked import asked_for
    from sacdoctor.cli.config import Config
    from sacdoctor.fleet import find_checkpoints

    given = Config(
        warning,
        critical,
        fail_on,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        select=tuple(select or ()),
        ignore=tuple(ignore or ()),
        trust=tuple(trust or ()),
    )
    asked = asked_for(given, config)
    targets = find_checkpoints(paths, asked.options)
    seen = _Seen(include or (), exclude or ())
    with open_output(output) as file:
        reports = seen.each(_reports(targets, asked.options))
        result = ScanResult(reports, all_tensors, verbose, asked.configuration)
        FORMATS[format].write(result, file)
    slip = seen.slip()
    if slip is not None:
        complain(slip)
        return TROUBLE
    return asked.exit_code(seen.statuses, seen.found.values())


class _Seen:
    """What the exit code needs of the reports, which pass by once.

    `include` and `exclude` are the patterns of the command line. One that leaves nothing to look
    at is a slip of the pen; those of a settings file are for many models, and need not fit each.
    `found` has a finding of each rule and severity.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self.statuses: set[Status] = set()
        self.found: dict[tuple[str, Severity], Finding] = {}
        self._idle, self._exclude = [*include], exclude
        self._unjudged: set[Unjudged | None] = set()

    def each(self, reports: Iterable[Report]) -> Iterator[Report]:
        """Yield the reports as they come."""
        for report in reports:
            self.statuses.add(report.status)
            self.found |= {(one.rule, one.severity): one for one in report.findings}
            if report.summary is not None:  # not of code alone
                self._unjudged.add(report.unjudged)
                self._idle = [pattern for pattern in self._idle if not _fits(pattern, report)]
            yield report

    def slip(self) -> str | None:
        """Return why a clean result would promise what was not looked at, None where it holds."""
        from sacdoctor.model import Unjudged

        if self._unjudged and self._idle:
            return f"--include {self._idle[0]!r} fits no tensor that was looked at"
        if self._exclude and self._unjudged == {Unjudged.NO_MATCH}:
            return f"--exclude {self._exclude[0]!r} leaves no tensor to look at"
        if self._unjudged == {Unjudged.NO_TENSORS} and self.statuses <= _SILENT:
            return "there is no tensor to judge in what was scanned"
        return None


def _fits(pattern: str, report: Report) -> bool:
    return any(fnmatchcase(layer.name, pattern) for layer in report.layers)


def _reports(targets: list[Target], options: ScanOptions) -> Iterator[Report]:
    """Yield each report, complain about what cannot be read, show progress at a terminal."""
    from sacdoctor.fleet import scan_all

    with progress(len(targets), "scanning") as advance:
        for report in scan_all(targets, options):
            advance()
            if report.error is not None:
                complain(f"{report.path}: {report.error}")
            yield report
