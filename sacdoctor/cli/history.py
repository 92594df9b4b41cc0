"""`sacdoctor history`: a run's checkpoints in order, and what its logs say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from sacdoctor.cli.terminal import console, open_output


def history(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.")],
    format: FormatOption = Format.TABLE,
    output: OutputOption = None,
    warning: WarningOption = None,
    critical: CriticalOption = None,
    fail_on: FailOnOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
) -> None:
    """Show how a training went: its checkpoints in order, when findings came up, reward crashes.

    Reads every .zip below RUN, progress.csv, monitor.csv and TensorBoard's event files. Exit codes:
    0 clean, 1 findings (a reward crash is a warning), 2 wrong usage or something unreadable.
    """
    from sacdoctor.cli.config import find_config, scan_options
    from sacdoctor.cli.outcome import TROUBLE, complain, exit_code
    from sacdoctor.errors import SacdoctorError
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
