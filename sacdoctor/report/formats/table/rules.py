"""The rules for people: a line for each, or everything that one of them says."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from sacdoctor.diagnosis.rules import Rule
from sacdoctor.report.formats.table.style import PROSE, STYLES

_INDENT = "      "


def print_listing(console: Console, rules: Sequence[Rule]) -> None:
    """Print each rule's code, name, severities and summary; on one line where all of them fit."""
    name = max(len(rule.name) for rule in rules)
    severities = max(len(_severities(rule)) for rule in rules)
    lines = [_columns(rule, name, severities).append(f"  {rule.summary}") for rule in rules]
    if max(map(len, lines)) > console.width:
        lines = [_columns(rule).append_text(_below(rule.summary, console.width)) for rule in rules]
    for line in lines:
        console.print(line)


def _columns(rule: Rule, name: int = 0, severities: int = 0) -> Text:
    """Return all but the summary, name and severities filled up to so many columns."""
    head = Text(rule.code, style="bold").append(f"  {rule.name:{name}}  ", style="not bold")
    shown = _severities(rule)
    return head.append_text(shown).append(" " * (severities - len(shown)))


def _severities(rule: Rule) -> Text:
    shown = [Text(severity, style=STYLES[severity]) for severity in rule.severities]
    return Text(", ").join(shown)


def _below(summary: str, width: int) -> Text:
    lines = textwrap.wrap(summary, max(20, min(width, PROSE) - len(_INDENT)))
    return Text("".join(f"\n{_INDENT}{line}" for line in lines), style="not bold default")


def markdown(rule: Rule) -> str:
    """Return a rule's code and name, what it is in short, and its explanation."""
    looks_at = " or ".join(dict.fromkeys(check.looks_at.in_words() for check in rule.checks))
    cures = ", ".join(f"`sacdoctor {command}`" for command in rule.cured_by)
    return (
        f"# {rule.code} {rule.name}\n\n"
        f"Severity: {', '.join(rule.severities)}. Looks at: {looks_at}. "
        f"Cured by: {cures or 'no command'}.\n\n"
        f"{rule.explanation}"
    )


def print_explanations(console: Console, rules: Sequence[Rule]) -> None:
    """Print at a terminal everything that the rules say, as rich sets Markdown."""
    for rule in rules:
        console.print(Markdown(markdown(rule)))
        console.print()
