"""`sacdoctor warmup`: forced actions in a replay buffer, and the updates that used them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sacdoctor.cli.options import (
    FailOnOption,
    Format,
    FormatOption,
)
from sacdoctor.cli.outcome import FailOn
from sacdoctor.cli.terminal import console, open_output

if TYPE_CHECKING:
    from sacdoctor.diagnosis.warmup import WarmupReport


def warmup(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A replay buffer (.pkl), a checkpoint (its buffer is looked for beside it), a "
            "YAML, JSON or TOML file, or a run folder.",
        ),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="The checkpoint saved with the buffer.", show_default="by its name, beside it"
        ),
    ] = None,
    clean: Annotated[
        Path | None,
        typer.Option(metavar="OUT.pkl", help="Write the buffer without the forced transitions."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing OUT.pkl.")] = False,
    algorithm: Annotated[
        str | None, typer.Option(help="SAC, TD3, …, for a settings file that names none.")
    ] = None,
    format: FormatOption = Format.TABLE,
    fail_on: FailOnOption = None,
) -> None:
    """Find forced actions at the head of a replay buffer, and the updates that used them.

    Nothing in a buffer is executed. Exit codes: 0 clean, 1 findings, 2 wrong usage or something
    unreadable.
    """
    from sacdoctor.cli.config import find_config
    from sacdoctor.cli.outcome import TROUBLE, complain, exit_code
    from sacdoctor.diagnosis.warmup import audit_warmup, write_clean
    from sacdoctor.errors import SacdoctorError

    try:
        config = find_config()
        report = audit_warmup(path, checkpoint=checkpoint, algorithm=algorithm)
        written = clean is not None and write_clean(report, clean, overwrite=force)
        _print(report, str(clean) if written else None, format)
        if clean is not None and not written:
            found = "no forced transitions were found"
            unknown = "whether the first actions were carried out cannot be told"
            complain(f"{found if report.is_told else unknown}: nothing was written")
    except SacdoctorError as error:
        complain(error)
        raise typer.Exit(TROUBLE) from None
    raise typer.Exit(exit_code({report.status}, fail_on or config.fail_on or FailOn.CRITICAL))


def _print(report: WarmupReport, cleaned: str | None, format: Format) -> None:
    with open_output(None) as file:
        if format is Format.JSON:
            from sacdoctor.report.warmup_json import render

            file.write(render(report, cleaned))
        else:
            from sacdoctor.report.warmup_table import print_warmup

            print_warmup(console(file), report, cleaned)
