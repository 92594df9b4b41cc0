"""`sacdoctor scan`: which biases are zero, in which layer, gate and part of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sacdoctor.cli.options import (
    CriticalOption,
    FailOnOption,
    Format,
    FormatOption,
    IgnoreOption,
    OutputOption,
    SelectOption,
    WarningOption,
)
from sacdoctor.cli.outcome import FailOn
from sacdoctor.cli.terminal import console, open_output, progress

if TYPE_CHECKING:
    from sacdoctor.diagnosis import ScanOptions
    from sacdoctor.fleet import Target
    from sacdoctor.model import Report
    from sacdoctor.severity import Status


def scan(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Checkpoints (.zip, or a bare .pth/.pt/.safetensors), folders (every .zip "
            "below, and every pickle where SD6 alone is selected) or patterns.",
        ),
    ],
    format: FormatOption = Format.TABLE,
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
    all_tensors: Annotated[
        bool, typer.Option("--all", help="List every tensor, not only biases in trouble.")
    ] = False,
) -> None:
    """Show which biases are zero and why: per layer, per gate, per part of the agent.

    Nothing in a checkpoint is executed. Exit codes: 0 clean, 1 findings, 2 wrong usage or
    something unreadable.
    """
    from sacdoctor.cli.config import find_config, scan_options
    from sacdoctor.cli.outcome import TROUBLE, complain, exit_code
    from sacdoctor.errors import SacdoctorError
    from sacdoctor.fleet import find_checkpoints

    try:
        config = find_config()
        options = scan_options(config, warning, critical, include, exclude, select, ignore)
        reports = _reports(find_checkpoints(paths, options), options)
        statuses = _write(reports, format, output, all_tensors)
    except SacdoctorError as error:
        complain(error)
        raise typer.Exit(TROUBLE) from None
    raise typer.Exit(exit_code(statuses, fail_on or config.fail_on or FailOn.CRITICAL))


def _reports(targets: list[Target], options: ScanOptions) -> Iterator[Report]:
    """Yield each report, complain about what cannot be read, show progress at a terminal."""
    from sacdoctor.cli.outcome import complain
    from sacdoctor.fleet import scan_all

    with progress(len(targets), "scanning") as advance:
        for report in scan_all(targets, options):
            advance()
            if report.error is not None:
                complain(f"{report.path}: {report.error}")
            yield report


def _write(
    reports: Iterator[Report], format: Format, output: Path | None, all_tensors: bool
) -> set[Status]:
    """Write the reports as they come, and return the statuses met."""
    statuses: set[Status] = set()

    def seen() -> Iterator[Report]:
        for report in reports:
            statuses.add(report.status)
            yield report

    with open_output(output) as file:
        if format is Format.JSON:
            from sacdoctor.report.json import render

            for piece in render(seen(), all_tensors=all_tensors):
                file.write(piece)
        else:
            from sacdoctor.report.table import print_reports

            print_reports(console(file), seen(), all_tensors=all_tensors)
    return statuses
