"""`sacdoctor history`: a run's checkpoints in order, and what its logs say."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sacdoctor.cli.outcome import FailOn
from sacdoctor.cli.terminal import console, open_output


class Format(str, Enum):
    """How a history is written."""

    TABLE = "table"
    JSON = "json"


def history(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.")],
    format: Annotated[Format, typer.Option(help="A table for people, JSON for scripts.")] = (
        Format.TABLE
    ),
    output: Annotated[
        Path | None, typer.Option(help="Write the result to this file, not to stdout.")
    ] = None,
    warning: Annotated[
        float | None,
        typer.Option(help="Warn above this percentage of zeros in a bias.", show_default="10"),
    ] = None,
    critical: Annotated[
        float | None,
        typer.Option(help="Critical above this percentage of zeros.", show_default="30"),
    ] = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(help="Exit with 1 from this status on.", show_default="critical"),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="CODES", help="Check only these rules: codes or prefixes, SD1,SD202."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CODES", help="Do not check these rules.")
    ] = None,
) -> None:
    """Show how a training went: its checkpoints in order, when findings came up, reward crashes.

    Reads every .zip below RUN, progress.csv, monitor.csv and TensorBoard's event files. Exit codes:
    0 clean, 1 findings (a reward crash is a warning), 2 wrong usage or something unreadable.
    """
    from sacdoctor.checkpoint import SacdoctorError
    from sacdoctor.cli.config import find_config, scan_options
    from sacdoctor.cli.outcome import TROUBLE, complain, exit_code
    from sacdoctor.history import read_history

    try:
        config = find_config()
        options = scan_options(config, warning, critical, select=select, ignore=ignore)
        found = read_history(run, options)
        for report in found.unreadable:
            complain(f"{report.path}: {report.error}")
        with open_output(output) as file:
            if format is Format.JSON:
                from sacdoctor.report.history_json import render

                file.write(render(found))
            else:
                from sacdoctor.report.history_table import print_history

                print_history(console(file), found)
    except SacdoctorError as error:
        complain(error)
        raise typer.Exit(TROUBLE) from None
    raise typer.Exit(exit_code(found.statuses, fail_on or config.fail_on or FailOn.CRITICAL))
