"""A checkup for people: the verdict, each fault once, when it came up, and what to type next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.checkup import Checkup, Concern, Happening
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import (
    PROSE,
    STATUS_STYLES,
    STYLES,
    bare_table,
    finding_text,
)
from sacdoctor.report.verdict import verdict_of_run
from sacdoctor.severity import Severity

_MOST_HAPPENINGS = 12
_INDENT = "      "


def print_checkup(console: Console, checkup: Checkup) -> None:
    """Print what a run comes to; five lines where nothing is wrong."""
    width = min(console.width, PROSE)
    console.print(Text(printable(checkup.path), style="bold"))
    text = Text(f"{checkup.status.upper()}  ", style=STATUS_STYLES[checkup.status])
    console.print(text.append(printable(verdict_of_run(checkup)), style="bold"))
    shown = [one for one in checkup.concerns if not one.finding.in_passing]
    for concern in shown:
        console.print()
        console.print(_concern(concern, width))
    if checkup.timeline:
        console.print()
        console.print(Text("Timeline, in steps", style="bold"))
        console.print(_timeline(checkup.timeline, width))
        if len(checkup.timeline) > _MOST_HAPPENINGS:
            more = len(checkup.timeline) - _MOST_HAPPENINGS
            console.print(Text(f"and {more:,} more; --format json has all", style="dim"))
    if shown or checkup.timeline:
        console.print()
    for head, items in (("Looked at", checkup.looked_at), ("Not there", checkup.not_there)):
        if items:
            console.print(_listed(head, items, width))
    for head, command in zip(_heads(), checkup.commands, strict=False):
        # whole, so that it can be copied
        line = Text(f"{head:11}", style="dim").append(printable(command), style="not dim")
        console.print(line, soft_wrap=True)


def _heads() -> Iterator[str]:
    yield "Next"
    while True:
        yield "then"


def _concern(concern: Concern, width: int) -> Text:
    text = finding_text(concern.finding, width)
    lines = [f"In {', '.join(concern.where)}{_since(concern)}"]
    if concern.explains:
        said = "; ".join(f"{o.finding.rule} {o.finding.message}" for o in concern.explains)
        lines.append(f"From this follows: {said}")
    for line in lines:
        for piece in textwrap.wrap(printable(line), max(20, width - len(_INDENT))):
            text.append(f"\n{_INDENT}{piece}", style="dim")
    return text


def _since(concern: Concern) -> str:
    onset = concern.onset
    if onset is None:
        return ""
    if onset.after_timesteps is None:
        return f", since the first checkpoint ({onset.by_timesteps:,} steps)"
    return f"; came up between {onset.after_timesteps:,} and {onset.by_timesteps:,} steps"


def _timeline(happenings: Sequence[Happening], width: int) -> Table:
    table = bare_table(show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(max_width=max(20, width - 24), overflow="fold")
    for one in happenings[:_MOST_HAPPENINGS]:
        when = f"{one.by_timesteps:,}"
        if one.after_timesteps is not None:
            when = f"{one.after_timesteps:,} to {when}"
        what = f"{one.run}: {one.what}" if one.run else one.what
        style = "" if one.severity is Severity.OK else STYLES[one.severity]
        table.add_row(when, Text(printable(what), style=style))
    return table


def _listed(head: str, items: Sequence[str], width: int) -> Text:
    text = textwrap.fill(
        printable(", ".join(items)),
        max(20, width),
        initial_indent=f"{head:11}",
        subsequent_indent=" " * 11,
        break_on_hyphens=False,
    )
    return Text(text, style="dim")
