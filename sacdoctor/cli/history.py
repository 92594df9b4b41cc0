"""`sacdoctor history`: a run's checkpoints in order, and what its logs say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sacdoctor.cli.options import (
    TABLE,
    ConfigOption,
    CriticalOption,
    ExitZeroOption,
    FailOnOption,
    IgnoreOption,
    MaxBytesOption,
    OutputOption,
    SelectOption,
    ShowConfigOption,
    WarningOption,
    format_option,
)
from sacdoctor.cli.outcome import FailOn, complain
from sacdoctor.cli.terminal import open_output
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import HistoryResult


def history(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The folder of a training, here or at an address."),
    ],
    format: Annotated[str, format_option(HistoryResult)] = TABLE,
    output: OutputOption = None,
    warning: WarningOption = None,
    critical: CriticalOption = None,
    fail_on: FailOnOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    config: ConfigOption = None,
    max_bytes: MaxBytesOption = None,
    exit_zero: ExitZeroOption = False,
    show_config: ShowConfigOption = False,
) -> int:
    """Show how a training went: its checkpoints in order, when findings came up, reward crashes.

    Reads every .zip below RUN, progress.csv, monitor.csv, evaluations.npz and TensorBoard's event
    files. Exit codes: 0 clean, 1 findings (a reward crash is a warning), 2 wrong usage or something
    unreadable.
    """
    from msgspec.structs import replace

    from sacdoctor.cli.asked import asked_for
    from sacdoctor.cli.config import Config
    from sacdoctor.fleet import copies
    from sacdoctor.history import read_history

    given = Config(
        warning,
        critical,
        FailOn.NEVER if exit_zero else fail_on,
        select=tuple(select or ()),
        ignore=tuple(ignore or ()),
    )
    asked = asked_for(given, config, show=show_config)
    with copies(max_bytes) as here:
        folder = Path(here.run(run))
        found = here.named(read_history(folder, here.looking(asked.options)))
    found = replace(found, unreadable=(*found.unreadable, *here.unreadable))
    for report in found.unreadable:
        complain(f"{report.path}: {report.error}")
    with open_output(output) as file:
        FORMATS[format].write(HistoryResult(found, asked.configuration), file)
    return asked.exit_code(found.statuses, (one for run in found.runs for _, one in run.code))
