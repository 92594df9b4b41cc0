"""`sacdoctor scan`: which biases are zero, in which layer, gate and part of the agent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sacdoctor.cli.options import (
    TABLE,
    ConfigOption,
    CriticalOption,
    ExitZeroOption,
    FailOnOption,
    IgnoreOption,
    JobsOption,
    MaxBytesOption,
    OutputOption,
    ResumeOption,
    SchedulerOption,
    SelectOption,
    ShowConfigOption,
    TrustOption,
    WarningOption,
    format_option,
    path_alone,
)
from sacdoctor.cli.outcome import TROUBLE, FailOn, complain, exit_code
from sacdoctor.cli.terminal import open_output, progress
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import Judge, ScanResult
from sacdoctor.severity import Status

_SILENT = {Status.UNKNOWN, Status.NOTICE}
"""With which a scan ends as if all were well."""
_BAD = {Status.WARNING, Status.CRITICAL}
STDIN = "-"
"""The path that stands for standard input."""

if TYPE_CHECKING:
    from sacdoctor.model import Finding, Report, Unjudged
    from sacdoctor.report.resumed import Earlier
    from sacdoctor.severity import Severity


def scan(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Checkpoints (.zip, or a bare .pth/.pt/.safetensors), folders (every .zip "
            "below, and every pickle where SD6 alone is selected) or patterns, here or at an "
            "address (https://, s3://, hf://, …). `model` finds model.zip, - is standard input.",
            show_default=False,
        ),
    ] = None,
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
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show a line for each bad file, and nothing else.")
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=path_alone, help="Findings that this file knows do not fail."
        ),
    ] = None,
    write_baseline: Annotated[
        bool,
        typer.Option("--write-baseline", help="Make what is found known: write it to --baseline."),
    ] = False,
    resume: ResumeOption = None,
    jobs: JobsOption = None,
    scheduler: SchedulerOption = None,
    max_bytes: MaxBytesOption = None,
    exit_zero: ExitZeroOption = False,
    show_config: ShowConfigOption = False,
) -> int:
    """Show which biases are zero and why: per layer, per gate, per part of the agent.

    Nothing in a checkpoint is executed. Exit codes: 0 clean, 1 findings, 2 wrong usage, something
    unreadable, or not one tensor to judge.
    """
    from sacdoctor.cli.asked import asked_for
    from sacdoctor.cli.config import Config
    from sacdoctor.fleet import Look, Patience, find_checkpoints, reports_on

    if jobs is not None and scheduler is not None:
        raise typer.BadParameter("--jobs are processes here, --scheduler has others: give one")
    if resume is not None and format not in ("jsonl", "parquet"):
        raise typer.BadParameter("--resume goes with --format jsonl or --format parquet")
    if resume is not None and output is not None:
        raise typer.BadParameter("--resume FILE is where results go: leave --output out")
    if verbose and quiet:
        raise typer.BadParameter("--verbose shows more and --quiet less: give one of them")
    if write_baseline and baseline is None:
        raise typer.BadParameter("--write-baseline needs --baseline FILE, which it writes")
    given = Config(
        warning,
        critical,
        FailOn.NEVER if exit_zero else fail_on,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        select=tuple(select or ()),
        ignore=tuple(ignore or ()),
        trust=tuple(trust or ()),
    )
    asked = asked_for(given, config, show=show_config)
    if not paths:
        raise typer.BadParameter("a PATH is missing: what is to be scanned?")
    patience = Patience.of(max_bytes)
    named = [path for path in paths if path != STDIN]
    targets = find_checkpoints(named, asked.options, patience)
    before = None if resume is None else _before(resume, format)
    if before is not None:
        targets = [target for target in targets if str(target) not in before.paths]
    found = reports_on(targets, Look(asked.options, patience), jobs=jobs, scheduler=scheduler)
    if STDIN in paths:
        from sacdoctor.cli.stdin import report_on_stdin

        found = chain([report_on_stdin(asked.options)], found)
    judge = asked.judge(None if write_baseline else baseline)
    seen = _Seen(include or (), exclude or (), judge, keeps=write_baseline)
    if before is not None:
        seen.statuses |= before.statuses
        seen.found |= before.found
    reports = seen.each(_watched(found, 0 if quiet else len(targets)))
    result = ScanResult(reports, all_tensors, verbose, asked.configuration, judge, quiet)
    if resume is not None:
        from sacdoctor.report.resumed import write_on

        write_on(resume, format, result)
    else:
        with open_output(output) as file:
            FORMATS[format].write(result, file)
    slip = seen.slip()
    if slip is not None:
        complain(slip)
        return TROUBLE
    if write_baseline and baseline is not None:
        _write_baseline(baseline, seen.kept)
        return exit_code(seen.statuses, FailOn.NEVER)
    return asked.exit_code(seen.statuses, seen.found.values())


def _before(resume: Path, format: str) -> Earlier:
    """Return what an interrupted run has found, and say how much that is."""
    from sacdoctor.report.resumed import earlier

    before = earlier(resume, format)
    if before.paths:
        from sacdoctor.report.text import counted

        them = "it" if len(before.paths) == 1 else "them"
        complain(f"{resume} has {counted(len(before.paths), 'result')}; going on behind {them}")
    return before


def _write_baseline(path: Path, found: Sequence[tuple[str, Finding]]) -> None:
    from sacdoctor.report.baseline import baseline_text
    from sacdoctor.report.text import counted

    with open_output(path) as file:
        file.write(baseline_text(found, path))
    complain(f"{path} knows {counted(len(found), 'finding')} from now on")


class _Seen:
    """What the exit code needs of the reports, which pass by once.

    `include` and `exclude` are the patterns of the command line. One that leaves nothing to look
    at is a slip of the pen; those of a settings file are for many models, and need not fit each.
    `found` has a finding of each rule and severity. What a baseline knows counts in neither.
    With `keeps`, `kept` are all findings that may fail, each with its file.
    """

    def __init__(
        self, include: Sequence[str], exclude: Sequence[str], judge: Judge, *, keeps: bool
    ) -> None:
        self.statuses: set[Status] = set()
        self.found: dict[tuple[str, Severity], Finding] = {}
        self.kept: list[tuple[str, Finding]] = []
        self._judge, self._keeps = judge, keeps
        self._idle, self._exclude = [*include], exclude
        self._unjudged: set[Unjudged | None] = set()

    def each(self, reports: Iterable[Report]) -> Iterator[Report]:
        """Yield the reports as they come."""
        for report in reports:
            new = [one for one in report.findings if not self._judge.knows(report.path, one)]
            self.statuses.add(_status(report, new))
            self.found |= {(one.rule, one.severity): one for one in new}
            if self._keeps and report.error is None:
                self.kept += [(report.path, one) for one in new if Status(one.severity) in _BAD]
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


def _status(report: Report, new: Sequence[Finding]) -> Status:
    """Return a report's status, where only its findings in `new` count.

    A bias at warning or worse is in a finding, or in one that explains it.
    """
    if len(new) == len(report.findings) or report.status not in _BAD:
        return report.status
    return Status.of(one.severity for one in new if not one.in_passing)


def _fits(pattern: str, report: Report) -> bool:
    return any(fnmatchcase(layer.name, pattern) for layer in report.layers)


def _watched(reports: Iterable[Report], total: int) -> Iterator[Report]:
    """Yield each report, complain about what cannot be read, show progress at a terminal."""
    with progress(total, "scanning") as advance:
        for report in reports:
            advance()
            if report.error is not None:
                complain(f"{report.path}: {report.error}")
            yield report
