"""The rules as a list, or explained; an explanation is Markdown, set by rich at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from sacdoctor.report.results import RulesResult

if TYPE_CHECKING:
    from sacdoctor.diagnosis.rules.registry import Rule


def write(result: RulesResult, file: TextIO) -> None:
    """Write a line per rule, or with `in_full` each rule's explanation."""
    if not result.in_full:
        width = max(len(rule.name) for rule in result.rules)
        for rule in result.rules:
            file.write(f"{rule.code}  {rule.name:{width}}  {rule.summary}\n")
    elif file.isatty():
        _print(result, file)
    else:
        file.write("\n\n".join(map(_markdown, result.rules)) + "\n")


def _markdown(rule: Rule) -> str:
    return f"# {rule.code} {rule.name}\n\n{rule.explanation}"


def _print(result: RulesResult, file: TextIO) -> None:
    # A pipe or a list of rules needs no rich.
    from rich.markdown import Markdown

    from sacdoctor.report.formats.table.console import console

    out = console(file)
    for rule in result.rules:
        out.print(Markdown(_markdown(rule)))
        out.print()
