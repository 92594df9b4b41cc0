"""The `sacdoctor` command: its verbs, and what every one of them does at its edges."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from sacdoctor import __version__
from sacdoctor.cli.fix import fix
from sacdoctor.cli.fix_config import fix_config
from sacdoctor.cli.outcome import TROUBLE, complain
from sacdoctor.cli.rules import rules
from sacdoctor.cli.scan import scan
from sacdoctor.cli.warmup import warmup

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""click's own; typer exports only this subclass of it, and brings click under changing names."""

app = typer.Typer(
    name="sacdoctor",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(scan)
app.command()(fix)
app.command()(fix_config)
app.command()(warmup)
app.command()(rules)


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
    """Run the command; what goes wrong ends in one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A path may hold bytes that are no text; printing it must not fail.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        _complain_of_usage(error)
        code = TROUBLE
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        complain("interrupted")
    sys.exit(code or 0)


def _complain_of_usage(error: Any) -> None:
    if not sys.argv[1:]:
        error.show()  # the help: nothing was asked for
        return
    command = error.ctx.command_path if error.ctx is not None else "sacdoctor"
    complain(f"{error.format_message().rstrip('.')}; see {command} --help")
