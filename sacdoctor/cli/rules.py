"""`sacdoctor rules`: what each rule looks for, why it matters, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from sacdoctor.cli.options import TABLE, format_option
from sacdoctor.cli.outcome import CLEAN
from sacdoctor.cli.terminal import open_output
from sacdoctor.errors import SacdoctorError
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import RulesResult


def rules(
    codes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CODE]...", help="Explain these: codes, prefixes of codes, or names."
        ),
    ] = None,
    format: Annotated[str, format_option(RulesResult)] = TABLE,
) -> int:
    """List the rules, or explain some of them."""
    from sacdoctor.diagnosis.rules import as_spelled, selected

    try:
        wanted = selected(map(as_spelled, codes or ()), ())
    except ValueError as error:
        raise SacdoctorError(str(error)) from None
    with open_output(None) as file:
        FORMATS[format].write(RulesResult(wanted, in_full=bool(codes)), file)
    return CLEAN
