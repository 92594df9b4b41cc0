"""`sacdoctor rules`: what each rule looks for, why it matters, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from sacdoctor.cli.options import Format, FormatOption
from sacdoctor.cli.terminal import console, open_output


def rules(
    codes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CODE]...", help="Explain these: codes, prefixes of codes, or names."
        ),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """List the rules, or explain some of them."""
    from sacdoctor.cli.outcome import TROUBLE, complain
    from sacdoctor.diagnosis.rules.registry import as_spelled, selected

    try:
        wanted = selected(map(as_spelled, codes or ()), ())
    except ValueError as error:
        complain(error)
        raise typer.Exit(TROUBLE) from None
    with open_output(None) as file:
        if format is Format.JSON:
            from sacdoctor.report.rules_json import render

            file.write(render(wanted))
            return
        from sacdoctor.report.rules_table import markdown, print_explanations, print_listing

        if not codes:
            print_listing(console(file), wanted)
        elif file.isatty():
            print_explanations(console(file), wanted)
        else:
            file.write("\n\n".join(map(markdown, wanted)) + "\n")
