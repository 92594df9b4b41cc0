"""`sacdoctor rules`: what each rule looks for, why it matters, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sacdoctor.cli.terminal import console, open_output

if TYPE_CHECKING:
    from sacdoctor.diagnosis.rules.interface import Rule


def rules(
    codes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CODE]...", help="Explain these: codes or prefixes of them."),
    ] = None,
) -> None:
    """List the rules, or explain some of them."""
    from sacdoctor.cli.outcome import TROUBLE, complain
    from sacdoctor.diagnosis.rules.registry import RULES, as_spelled, selected

    try:
        wanted = selected(map(as_spelled, codes or ()), ())
    except ValueError as error:
        complain(error)
        raise typer.Exit(TROUBLE) from None
    with open_output(None) as file:
        if not codes:
            width = max(len(rule.name) for rule in RULES)
            for rule in RULES:
                file.write(f"{rule.code}  {rule.name:{width}}  {rule.summary}\n")
        elif file.isatty():
            _explain(wanted)
        else:
            file.write("\n\n".join(map(_markdown, wanted)) + "\n")


def _markdown(rule: Rule) -> str:
    return f"# {rule.code} {rule.name}\n\n{rule.explanation}"


def _explain(wanted: tuple[Rule, ...]) -> None:
    """Print at a terminal, as rich sets Markdown."""
    import sys

    from rich.markdown import Markdown

    out = console(sys.stdout)
    for rule in wanted:
        out.print(Markdown(_markdown(rule)))
        out.print()
