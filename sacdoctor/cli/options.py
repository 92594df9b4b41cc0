"""Options that several verbs share, each with the same words."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from sacdoctor.cli.outcome import FailOn
from sacdoctor.report.formats import formats_for

TABLE = "table"
"""The format of a verb that is not told another."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(:/|::)")
"""As a path an address has one slash; the letter of a drive is no scheme."""


def path_alone(path: Path | None) -> Path | None:
    """Refuse an address where the path of a file on this machine is asked for."""
    if path is not None and _ADDRESS.match(str(path)) and not os.path.lexists(path.parts[0]):
        raise typer.BadParameter("it is an address: give the path of a file here")
    return path


OutputOption = Annotated[
    Path | None,
    typer.Option(callback=path_alone, help="Write the result to this file, not to stdout."),
]
WarningOption = Annotated[
    float | None,
    typer.Option(help="Warn above this percentage of zeros in a bias.", show_default="10"),
]
CriticalOption = Annotated[
    float | None,
    typer.Option(help="Critical above this percentage of zeros.", show_default="30"),
]
FailOnOption = Annotated[
    FailOn | None, typer.Option(help="Exit with 1 from this status on.", show_default="critical")
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CODES", help="Check only these rules: codes, prefixes or names, SD1,SD202."
    ),
]
IgnoreOption = Annotated[
    list[str] | None, typer.Option(metavar="CODES", help="Do not check these rules.")
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE",
        help="Take what a file names from this module, or from one below it, for your own code.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=path_alone,
        help="Take settings from this file, not from the nearest sacdoctor.toml.",
    ),
]

ExitZeroOption = Annotated[
    bool,
    typer.Option("--exit-zero", help="Exit with 0 whatever is found; 2 stays 2."),
]
ShowConfigOption = Annotated[
    bool,
    typer.Option(
        "--show-config", help="Show the settings that hold, and where each is from; do no more."
    ),
]

ResumeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=path_alone,
        help="Write to this file as results come (with Parquet, a folder), and leave out what an "
        "earlier run has there.",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Work with so many processes.",
        show_default="one per processor, for many files",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Have a Dask cluster do the work: its scheduler, as tcp://host:8786.",
    ),
]


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no number of bytes, as 500MB or 4GiB is")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit or " "))


MaxBytesOption = Annotated[
    int | None,
    typer.Option(
        parser=_bytes,
        metavar="SIZE",
        help="Take no more of a file at an address.",
        show_default="4GiB",
    ),
]


def format_option(kind: type, default: str = TABLE) -> Any:
    """Return `--format` for a verb whose result is of this `kind` (see `report.results`).

    It takes the name of any format that shows such a result, and no other.
    """
    formats = sorted(formats_for(kind), key=lambda format: format.name != default)
    names = [format.name for format in formats]
    words = ", ".join(format.help for format in formats)

    def known(name: str) -> str:
        if name not in names:
            # as typer says it of an Enum, which cannot be made from what is found
            choices = ", ".join(map(repr, names))
            raise typer.BadParameter(f"{name!r} is not one of {choices}.")
        return name

    return typer.Option(
        parser=known,
        metavar=f"<{'|'.join(names)}>",
        help=f"{words[0].upper()}{words[1:]}.",
        autocompletion=lambda: names,
    )
