"""`sacdoctor watch`: a folder followed, one line for each checkpoint that lands in it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sacdoctor.cli.options import (
    CriticalOption,
    IgnoreOption,
    SelectOption,
    WarningOption,
)
from sacdoctor.cli.outcome import FailOn
from sacdoctor.cli.terminal import open_output


class Format(StrEnum):
    """How each checkpoint is told."""

    TEXT = "text"
    JSON = "json"


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.")],
    format: Annotated[Format, typer.Option(help="A line of text, or a JSON object on a line.")] = (
        Format.TEXT
    ),
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.05, help="Look so often.")
    ] = 2.0,
    warning: WarningOption = None,
    critical: CriticalOption = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(help="End with 1 at the first such checkpoint.", show_default="critical"),
    ] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
) -> None:
    """Follow a folder and scan each checkpoint as it lands, those already there first.

    A file is scanned once it is complete; a line says when, which, its status and worst finding.
    Exit codes: 1 a checkpoint at or above --fail-on, 2 the folder is gone, 130 Ctrl-C.
    """
    from datetime import datetime

    from sacdoctor.cli.config import find_config, scan_options
    from sacdoctor.cli.outcome import FINDINGS, TROUBLE, complain, exit_code
    from sacdoctor.errors import SacdoctorError
    from sacdoctor.history.watch import landings
    from sacdoctor.report.watch_line import json_line, text

    try:
        config = find_config()
        options = scan_options(config, warning, critical, select=select, ignore=ignore)
        limit = fail_on or config.fail_on or FailOn.CRITICAL
        with open_output(None) as file:
            for report in landings(run, options, interval):
                now = datetime.now()
                file.write(
                    json_line(report, now) if format is Format.JSON else text(report, run, now)
                )
                file.flush()
                if exit_code({report.status}, limit) == FINDINGS:
                    raise typer.Exit(FINDINGS)
    except SacdoctorError as error:
        complain(error)
        raise typer.Exit(TROUBLE) from None
