"""The `sacdoctor` command: its verbs, and what every one of them does at its edges."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from sacdoctor.cli.outcome import TROUBLE, complain
from sacdoctor.errors import SacdoctorError
from sacdoctor.version import __version__

VERBS = (
    "scan",
    "fix",
    "fix-config",
    "diff",
    "history",
    "checkup",
    "watch",
    "warmup",
    "probe",
    "summary",
    "rules",
    "schema",
)
"""Each is a function of the same name in a module of the same name."""

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def application(verbs: Iterable[str] = VERBS) -> typer.Typer:
    """Return the command with these verbs."""
    app = typer.Typer(
        name="sacdoctor",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_sacdoctor)
    for verb in verbs:
        name = verb.replace("-", "_")
        app.command(verb)(getattr(import_module(f"sacdoctor.cli.{name}"), name))
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sacdoctor {__version__}")
        raise typer.Exit


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
    # What typer makes of a verb takes time, so it gets the one that is asked for.
    asked = sys.argv[1:2]
    try:
        code = application(asked if asked and asked[0] in VERBS else VERBS)(standalone_mode=False)
    except typer.TyperException as error:
        _complain_of_usage(error)
        code = TROUBLE
    except SacdoctorError as error:
        complain(error)
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
