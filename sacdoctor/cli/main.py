"""The `sacdoctor` command: its verbs, and what every one of them does at its edges."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from sacdoctor import __version__
from sacdoctor.cli.scan import scan

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

app = typer.Typer(
    name="sacdoctor",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(scan)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sacdoctor {__version__}")
        raise typer.Exit


@app.callback()
def _sacdoctor(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Find out what is wrong with a Stable-Baselines3 checkpoint, without running it."""


def main() -> None:
    """Run the command; Ctrl-C and a closed pipe end it without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A path may hold bytes that are no text; printing it must not fail.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except KeyboardInterrupt:
        sys.stderr.write("sacdoctor: interrupted\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (`head`, `less`) has seen enough. Python would complain once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
