"""`sacdoctor diff`: what changed between two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sacdoctor.cli.options import (
    Format,
    FormatOption,
)
from sacdoctor.cli.terminal import console, open_output


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A checkpoint.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, e.g. a later one.")],
    format: FormatOption = Format.TABLE,
) -> None:
    """Show which tensors, moments and settings differ between two checkpoints, and how far.

    Exit codes: 0 the same, 1 different, 2 wrong usage or something unreadable.
    """
    from sacdoctor.cli.outcome import CLEAN, FINDINGS, TROUBLE, complain
    from sacdoctor.errors import SacdoctorError
    from sacdoctor.history import diff as compare

    try:
        difference = compare(a, b)
    except SacdoctorError as error:
        complain(error)
        raise typer.Exit(TROUBLE) from None
    with open_output(None) as file:
        if format is Format.JSON:
            from sacdoctor.report.diff_json import render

            file.write(render(difference))
        else:
            from sacdoctor.report.diff_table import print_difference

            print_difference(console(file), difference)
    raise typer.Exit(CLEAN if difference.is_empty else FINDINGS)
