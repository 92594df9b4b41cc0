"""`sacdoctor warmup`: forced actions in a replay buffer, and the updates that used them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sacdoctor.cli.options import (
    TABLE,
    ConfigOption,
    ExitZeroOption,
    FailOnOption,
    MaxBytesOption,
    ShowConfigOption,
    format_option,
)
from sacdoctor.cli.outcome import FailOn, complain
from sacdoctor.cli.terminal import open_output
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import WarmupResult


def warmup(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A replay buffer (.pkl, .npz), a checkpoint (its buffer is looked for beside it), "
            "a YAML, JSON or TOML file, or a run folder. All but a folder may be at an address.",
        ),
    ],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint saved with the buffer.", show_default="by its name, beside it"
        ),
    ] = None,
    clean: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", help="Write the buffer without the forced transitions, in its format."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing OUT.")] = False,
    algorithm: Annotated[
        str | None, typer.Option(help="SAC, TD3, …, for a settings file that names none.")
    ] = None,
    format: Annotated[str, format_option(WarmupResult)] = TABLE,
    fail_on: FailOnOption = None,
    config: ConfigOption = None,
    max_bytes: MaxBytesOption = None,
    exit_zero: ExitZeroOption = False,
    show_config: ShowConfigOption = False,
) -> int:
    """Find forced actions at the head of a replay buffer, and the updates that used them.

    Nothing in a buffer is executed. Exit codes: 0 clean, 1 findings, 2 wrong usage or something
    unreadable.
    """
    from sacdoctor.cli.asked import FAIL_ON, asked_for
    from sacdoctor.cli.config import Config
    from sacdoctor.diagnosis.warmup import SETTINGS, audit_warmup, write_clean
    from sacdoctor.files import BUFFER, as_saved
    from sacdoctor.fleet import copies

    given = Config(fail_on=FailOn.NEVER if exit_zero else fail_on)
    asked = asked_for(given, config, heeds=(FAIL_ON,), show=show_config)
    with copies(max_bytes) as here:
        beside = None if checkpoint is None else here.file(as_saved(checkpoint))
        given_path = as_saved(as_saved(path), BUFFER)
        is_alone = beside is not None or given_path.lower().endswith(SETTINGS)
        copy = here.file(given_path) if is_alone else here.checkpoint(given_path)
        here.refuse_unfetched()
        report = audit_warmup(copy, checkpoint=beside, algorithm=algorithm)
        written = clean is not None and write_clean(report, clean, overwrite=force)
        report = here.named(report)
    with open_output(None) as file:
        output = str(clean) if written else None
        FORMATS[format].write(
            WarmupResult(report, output, asked.configuration, asked.judge()), file
        )
    if clean is not None and not written:
        found = "no forced transitions were found"
        unknown = "whether the first actions were carried out cannot be told"
        complain(f"{found if report.is_told else unknown}: nothing was written")
    return asked.exit_code({report.status}, report.findings)
