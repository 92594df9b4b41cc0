"""Settings that must change, for people: a line for each, or two where one is too long."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import PROSE, STYLES
from sacdoctor.settings.corrections import Change

_INDENT = "      "


def print_changes(console: Console, listed: Mapping[str, Sequence[Change]], *, named: bool) -> None:
    """Print what must change in each source, where they are `named` below the name of each."""
    changes = {source: found for source, found in listed.items() if found}
    if not changes:
        console.print("nothing to change")
    for source, found in changes.items():
        if named:
            console.print(Text(printable(source), style="bold"), soft_wrap=True)
        _print(console, found)


def _print(console: Console, changes: Sequence[Change]) -> None:
    """Print in columns what, from, to, how bad, and why; where that is too wide, why below."""
    rows = [
        (
            printable(change.key),
            printable(change.before if change.before is not None else "(not set)"),
            f"-> {change.after if change.after is not None else 'null'}",
            str(change.verdict.severity),
        )
        for change in changes
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    whole = sum(widths) + 2 * len(widths) + max(len(c.verdict.message) for c in changes)
    is_narrow = whole > console.width
    for row, change in zip(rows, changes, strict=True):
        filled = row if is_narrow else [c.ljust(w) for c, w in zip(row, widths, strict=True)]
        line = Text("  ".join(filled[:3]) + "  ").append(
            filled[3], style=STYLES[change.verdict.severity]
        )
        why = change.verdict.message
        if is_narrow:
            columns = max(20, min(console.width, PROSE) - len(_INDENT))
            line.append("".join(f"\n{_INDENT}{part}" for part in textwrap.wrap(why, columns)))
        else:
            line.append(f"  {why}")
        console.print(line)
