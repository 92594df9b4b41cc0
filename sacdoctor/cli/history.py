"""`sacdoctor history`: a run's checkpoints in order, and what its logs say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from sacdoctor.cli.terminal import open_output
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import HistoryResult


def history(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.")],
    format: Annotated[str, format_option(HistoryResult)] = TABLE,
    output: OutputOption = None,
    warning: WarningOption = None,
    critical: CriticalOption = None,
    fail_on: FailOnOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
) -> int:
    """Show how a training went: its checkpoints in order, when findings came up, reward crashes.

    Reads every .zip below RUN, progress.csv, monitor.csv, evaluations.npz and TensorBoard's event
    files. Exit codes: 0 clean, 1 findings (a reward crash is a warning), 2 wrong usage or something
    unreadable.
    """
    from sacdoctor.cli.config import configuration
    from sacdoctor.history import read_history

    asked = configuration(
        warning=warning, critical=critical, fail_on=fail_on, select=select, ignore=ignore
    )
    found = read_history(run, asked.scan_options())
    for report in found.unreadable:
        complain(f"{report.path}: {report.error}")
    with open_output(output) as file:
        FORMATS[format].write(HistoryResult(found), file)
    return exit_code(found.statuses, asked.fail_on)
