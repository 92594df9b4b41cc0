"""`sacdoctor diff`: what changed between two checkpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from sacdoctor.cli.options import TABLE, ExitZeroOption, MaxBytesOption, format_option
from sacdoctor.cli.outcome import CLEAN, FINDINGS
from sacdoctor.cli.terminal import open_output
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import DiffResult


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A checkpoint, here or at an address.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one, e.g. a later one.")],
    all_tensors: Annotated[
        bool,
        typer.Option("--all", help="List every tensor that differs, however many there are."),
    ] = False,
    format: Annotated[str, format_option(DiffResult)] = TABLE,
    max_bytes: MaxBytesOption = None,
    exit_zero: ExitZeroOption = False,
) -> int:
    """Show which tensors, moments and settings differ between two checkpoints, and how far.

    Exit codes: 0 the same, 1 different, 2 wrong usage or something unreadable.
    """
    from sacdoctor.files import as_saved
    from sacdoctor.fleet import copies
    from sacdoctor.history import diff as compare

    with copies(max_bytes) as here:
        one, other = here.file(as_saved(a)), here.file(as_saved(b))
        difference = here.named(compare(one, other))
    with open_output(None) as file:
        FORMATS[format].write(DiffResult(difference, all_tensors), file)
    return CLEAN if exit_zero or difference.is_empty else FINDINGS
