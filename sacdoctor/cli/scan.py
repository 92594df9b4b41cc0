"""`sacdoctor scan`: which biases are zero, in which layer, gate and part of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from sacdoctor.cli.options import (
    TABLE,
    CriticalOption,
    FailOnOption,
    IgnoreOption,
    OutputOption,
    SelectOption,
    WarningOption,
    format_option,
)
from sacdoctor.cli.outcome import complain, exit_code
from sacdoctor.cli.terminal import open_output, progress
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import ScanResult
from sacdoctor.severity import Status

if TYPE_CHECKING:
    from sacdoctor.fleet import Target
    from sacdoctor.model import Report
    from sacdoctor.options import ScanOptions


def scan(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Checkpoints (.zip, or a bare .pth/.pt/.safetensors), folders (every .zip "
            "below, and every pickle where SD6 alone is selected) or patterns.",
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
    all_tensors: Annotated[
        bool, typer.Option("--all", help="List every tensor, not only biases in trouble.")
    ] = False,
) -> int:
    """Show which biases are zero and why: per layer, per gate, per part of the agent.

    Nothing in a checkpoint is executed. Exit codes: 0 clean, 1 findings, 2 wrong usage or
    something unreadable.
    """
    from sacdoctor.cli.config import configuration
    from sacdoctor.fleet import find_checkpoints

    asked = configuration(
        warning=warning,
        critical=critical,
        fail_on=fail_on,
        include=include,
        exclude=exclude,
        select=select,
        ignore=ignore,
    )
    options = asked.scan_options()
    targets = find_checkpoints(paths, options)
    statuses: set[Status] = set()

    def reports() -> Iterator[Report]:
        for report in _reports(targets, options):
            statuses.add(report.status)
            yield report

    with open_output(output) as file:
        FORMATS[format].write(ScanResult(reports(), all_tensors), file)
    return exit_code(statuses, asked.fail_on)


def _reports(targets: list[Target], options: ScanOptions) -> Iterator[Report]:
    """Yield each report, complain about what cannot be read, show progress at a terminal."""
    from sacdoctor.fleet import scan_all

    with progress(len(targets), "scanning") as advance:
        for report in scan_all(targets, options):
            advance()
            if report.error is not None:
                complain(f"{report.path}: {report.error}")
            yield report
