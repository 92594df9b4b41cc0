"""Networks at work for people: a map of their layers, what comes out, and the findings below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.printable import printable
from sacdoctor.report.at_work import outputs, what_was_seen
from sacdoctor.report.formats.table.style import (
    NARROW,
    PROSE,
    STATUS_STYLES,
    bare_table,
    dotted,
    finding_text,
    percent_text,
)
from sacdoctor.report.verdict import verdict_of_work

if TYPE_CHECKING:
    from sacdoctor.diagnosis import LayerActivity, NetworkActivity
    from sacdoctor.network import ProbeReport

_COLUMNS = ("activation", "units", "dead %", "saturated %", "dormant %", "rank")
_IN_SHORT = ("activation", "units", "dead %", "full %")
"""The same at a narrow terminal."""


def print_probe(console: Console, report: ProbeReport) -> None:
    """Print what the networks of one checkpoint do."""
    console.print(Text(printable(report.path), style="bold"))
    seen = what_was_seen(report)
    console.print(Text("\n".join(textwrap.wrap(seen, min(console.width, PROSE))), style="dim"))
    status = Text(f"{report.status.upper()}  ", style=STATUS_STYLES[report.status])
    console.print(status.append(verdict_of_work(report), style="bold"))
    console.print()
    console.print(_map(report.networks, console.width))
    for network in report.networks:
        for line in outputs(network):
            console.print()
            console.print(_entry(network.name, line, console.width))
    for note in report.notes:
        console.print()
        note = printable(f"{note[0].upper()}{note[1:]}.")
        console.print(Text("\n".join(textwrap.wrap(note, min(console.width, PROSE))), style="dim"))
    for finding in report.findings:
        console.print()
        console.print(finding_text(finding, console.width))
    console.print()


def _map(networks: Sequence[NetworkActivity], width: int) -> Table:
    columns = _IN_SHORT if width < NARROW else _COLUMNS
    table = bare_table()
    table.add_column("network and layer", overflow="fold")
    for column in columns:
        justify = "left" if column == "activation" else "right"
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    room = width - sum(len(column) + 2 for column in columns) - len("  ")
    for network in networks:
        table.add_row(Text(printable(network.name), style="bold"))
        for layer in network.layers:
            name = printable(layer.name) or "(the module itself)"
            table.add_row("  " + dotted(name, room, "    "), *[*_cells(layer)][: len(columns)])
    return table


def _cells(layer: LayerActivity) -> Iterator[Text]:
    yield Text(layer.activation or "", style="dim")
    yield Text(f"{layer.units:,}")
    yield _share(layer.dead, layer.units)
    yield _share(layer.saturated, layer.units)
    yield Text(percent_text(100.0 * layer.dormant / layer.units), style="dim")
    yield Text("" if layer.rank is None else f"{layer.rank:,}", style="dim")


def _share(part: int | None, units: int) -> Text:
    if part is None:
        return Text()
    return Text(percent_text(100.0 * part / units), style="" if part else "dim")


def _entry(name: str, line: str, width: int) -> Text:
    head = f"{printable(name)}: "
    lines = textwrap.wrap(head + line, min(width, PROSE), subsequent_indent="  ")
    text = Text("\n".join(lines))
    text.stylize("bold", 0, len(head) - 2)
    return text
