"""Options that several verbs share, each with the same words."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sacdoctor.cli.outcome import FailOn


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option(help="A table for people, JSON for scripts.")]
OutputOption = Annotated[
    Path | None, typer.Option(help="Write the result to this file, not to stdout.")
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
