"""A summary of many scans as tables for people: rules by how common they are, then the groups."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.fleet.summary import FleetSummary
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import (
    MOST_ROWS,
    STATUS_STYLES,
    STYLES,
    bare_table,
)
from sacdoctor.report.text import counted
from sacdoctor.severity import Severity, Status

_SEVERITIES = (Severity.CRITICAL, Severity.WARNING, Severity.NOTICE)


def print_summary(console: Console, summary: FleetSummary) -> None:
    """Print how many checkpoints there are of each status, and what is wrong with them."""
    line = Text(f"{counted(summary.checkpoints, 'checkpoint')}:", style="bold")
    parts = [
        Text(f"{summary.statuses[status]:,} {status}", style=style)
        for status, style in STATUS_STYLES.items()
        if status in summary.statuses
    ]
    console.print(line, Text(", ").join(parts))
    if summary.rules:
        console.print()
        console.print(_rules(summary))
    for title, groups in (("algorithm", summary.algorithms), ("SB3", summary.sb3_versions)):
        if groups:
            console.print()
            console.print(_groups(title, groups))


def _rules(summary: FleetSummary) -> Table:
    table = bare_table()
    table.add_column("rule", no_wrap=True)
    table.add_column("", overflow="fold")
    table.add_column("of all", justify="right", no_wrap=True)
    for severity in _SEVERITIES:
        table.add_column(severity, justify="right", no_wrap=True)
    for one in summary.rules[:MOST_ROWS]:
        share = 100.0 * one.checkpoints / max(1, summary.checkpoints)
        counts = zip(_SEVERITIES, (one.critical, one.warning, one.notice), strict=True)
        table.add_row(
            printable(one.rule),
            printable(one.name),
            f"{share:.1f} %",
            *(Text(f"{count:,}" if count else "", style=STYLES[which]) for which, count in counts),
        )
    return table


def _groups(title: str, groups: Mapping[str | None, Mapping[str, int]]) -> Table:
    shown = [status for status in STATUS_STYLES if any(status in one for one in groups.values())]
    table = bare_table()
    table.add_column(title, overflow="fold")
    table.add_column("all", justify="right", no_wrap=True)
    for status in shown:
        table.add_column(status, justify="right", no_wrap=True)
    for name, counts in [*groups.items()][:MOST_ROWS]:
        table.add_row(
            Text("not told", style="dim") if name is None else printable(name),
            f"{sum(counts.values()):,}",
            *(_count(counts, status) for status in shown),
        )
    return table


def _count(counts: Mapping[str, int], status: Status) -> Text:
    count = counts.get(status, 0)
    return Text(f"{count:,}" if count else "", style=STATUS_STYLES[status])
