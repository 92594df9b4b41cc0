"""`sacdoctor probe`: what an agent's networks do on the observations it saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from sacdoctor.cli.options import (
    TABLE,
    ConfigOption,
    FailOnOption,
    IgnoreOption,
    MaxBytesOption,
    OutputOption,
    SelectOption,
    format_option,
)
from sacdoctor.cli.terminal import open_output
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import ProbeResult


def probe(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="An SB3 checkpoint (.zip), here or at an address."),
    ],
    buffer: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Observations of this replay buffer.",
            show_default="the buffer beside the checkpoint",
        ),
    ] = None,
    observations: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Observations of a .npy or .npz, as the environment gives them."
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Observations of this gymnasium environment, in which the policy acts: its code "
            "runs.",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many observations at most.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the environment, and of the policy's draws.")] = 0,
    device: Annotated[str, typer.Option(help="Where the networks work: cpu, cuda, …")] = "cpu",
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE",
            help="Import the policy's own classes from this module, or from one below it.",
        ),
    ] = None,
    format: Annotated[str, format_option(ProbeResult)] = TABLE,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    config: ConfigOption = None,
    max_bytes: MaxBytesOption = None,
) -> int:
    """Show what a network does: which units are dead or saturated, and what comes out.

    A live model is made from the file, with nothing in it executed; needs the extra `train`. Exit
    codes: 0 clean, 1 findings, 2 wrong usage or something unreadable.
    """
    from sacdoctor.cli.asked import FAIL_ON, asked_for
    from sacdoctor.cli.config import Config
    from sacdoctor.errors import SacdoctorError
    from sacdoctor.extras import imported
    from sacdoctor.files import BUFFER, as_saved
    from sacdoctor.fleet import copies

    given = Config(fail_on=fail_on, select=tuple(select or ()), ignore=tuple(ignore or ()))
    asked = asked_for(given, config, heeds=(FAIL_ON, "select", "ignore"))
    try:
        work = imported("sacdoctor.network", "probe", "sacdoctor probe")
    except ImportError as error:
        raise SacdoctorError(str(error)) from None
    is_lone = buffer is None and observations is None and env is None
    with copies(max_bytes) as here, _bar() as advance:
        copy = here.checkpoint(as_saved(model), buffer=is_lone)
        here.refuse_unfetched()
        report = work(
            copy,
            buffer=None if buffer is None else here.file(as_saved(buffer, BUFFER)),
            observations=None if observations is None else here.file(observations),
            env=env,
            count=count,
            seed=seed,
            device=device,
            trust=tuple(trust or ()),
            options=asked.options,
            advance=advance,
        )
        report = here.named(report)
    with open_output(output) as file:
        FORMATS[format].write(ProbeResult(report, asked.configuration), file)
    return asked.exit_code({report.status}, report.findings)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Give a function that is told how many observations of how many are done."""
    import sys

    if not sys.stderr.isatty():
        yield lambda done, count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("observing", total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)
