"""`sacdoctor watch`: a folder followed, one line for each checkpoint that lands in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sacdoctor.cli.options import (
    ConfigOption,
    CriticalOption,
    IgnoreOption,
    SelectOption,
    ShowConfigOption,
    WarningOption,
    format_option,
)
from sacdoctor.cli.outcome import CLEAN, FINDINGS, FailOn
from sacdoctor.cli.terminal import open_output
from sacdoctor.errors import SacdoctorError
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import WatchResult

TEXT = "text"
"""The format of the lines unless another is asked for."""


def watch(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a training.")],
    format: Annotated[str, format_option(WatchResult, default=TEXT)] = TEXT,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.05, max=86_400, help="Look so often.")
    ] = 2.0,
    warning: WarningOption = None,
    critical: CriticalOption = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(help="End with 1 at the first such checkpoint.", show_default="critical"),
    ] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    config: ConfigOption = None,
    show_config: ShowConfigOption = False,
) -> int:
    """Follow a folder and scan each checkpoint as it lands, those already there first.

    A file is scanned once it is complete; a line says when, which, its status and worst finding.
    Exit codes: 1 a checkpoint at or above --fail-on, 2 the folder is gone, 130 Ctrl-C.
    """
    if interval != interval:
        raise typer.BadParameter("nan is no number of seconds", param_hint="'--interval'")
    from datetime import datetime

    from sacdoctor.cli.asked import asked_for
    from sacdoctor.cli.config import Config
    from sacdoctor.fleet import path_here, without_credentials
    from sacdoctor.history import landings

    given = Config(
        warning, critical, fail_on, select=tuple(select or ()), ignore=tuple(ignore or ())
    )
    asked = asked_for(given, config, show=show_config)
    folder = path_here(run)
    if folder is None:
        raise SacdoctorError(
            "a folder here is followed; history looks at one that is elsewhere",
            without_credentials(run),
        )
    with open_output(None) as file:
        for report in landings(Path(folder), asked.options, interval):
            result = WatchResult(report, Path(folder), datetime.now(), asked.configuration)
            FORMATS[format].write(result, file)
            file.flush()
            if asked.exit_code({report.status}, report.findings) == FINDINGS:
                return FINDINGS
    return CLEAN  # the reader has seen enough
