"""`sacdoctor checkup`: everything that lies in a run's folder, as one report."""

from __future__ import annotations

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
    TrustOption,
    WarningOption,
    format_option,
)
from sacdoctor.cli.outcome import FailOn, complain
from sacdoctor.cli.terminal import open_output
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import CheckupResult


def checkup(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="The folder of a training, or a checkpoint, here or at an address.",
        ),
    ],
    format: Annotated[str, format_option(CheckupResult)] = TABLE,
    output: OutputOption = None,
    warning: WarningOption = None,
    critical: CriticalOption = None,
    fail_on: FailOnOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    trust: TrustOption = None,
    no_probe: Annotated[
        bool, typer.Option("--no-probe", help="Do not set the networks to work (needs `train`).")
    ] = False,
    config: ConfigOption = None,
    max_bytes: MaxBytesOption = None,
    exit_zero: ExitZeroOption = False,
    show_config: ShowConfigOption = False,
) -> int:
    """Look at all that a run left, and say what is wrong, since when, and what to do.

    The newest checkpoint and the best, what changed between checkpoints, what lies beside them,
    the replay buffer and what the networks do on it, the logs. Exit codes: 0 clean, 1 findings, 2
    wrong usage or something unreadable.
    """
    from msgspec.structs import replace

    from sacdoctor.checkup import check_up
    from sacdoctor.cli.asked import asked_for
    from sacdoctor.cli.config import Config
    from sacdoctor.fleet import copies

    given = Config(
        warning,
        critical,
        FailOn.NEVER if exit_zero else fail_on,
        select=tuple(select or ()),
        ignore=tuple(ignore or ()),
        trust=tuple(trust or ()),
    )
    asked = asked_for(given, config, show=show_config)
    with copies(max_bytes) as here:
        path = here.run_or_checkpoint(run)
        found = check_up(path, here.looking(asked.options), probe=not no_probe)
    commands = tuple(map(here.command, found.commands))
    unreadable = (*found.unreadable, *here.unreadable)
    found = here.named(replace(found, commands=commands, unreadable=unreadable))
    for report in found.unreadable:
        complain(f"{report.path}: {report.error}")
    with open_output(output) as file:
        FORMATS[format].write(CheckupResult(found, asked.configuration, asked.judge()), file)
    return asked.exit_code(found.statuses, (one.finding for one in found.concerns))
