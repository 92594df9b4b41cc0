"""Networks at work for people: a map of their layers, what comes out, and the findings below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import (
    NARROW,
    PROSE,
    STATUS_STYLES,
    bare_table,
    dotted,
    finding_text,
    percent_text,
)
from sacdoctor.report.text import counted
from sacdoctor.severity import Status

if TYPE_CHECKING:
    from sacdoctor.diagnosis import (
        ActionActivity,
        LayerActivity,
        NetworkActivity,
        ValueActivity,
    )
    from sacdoctor.network import ProbeReport

_SOURCES = {
    "buffer": "of {}",
    "file": "of {}",
    "environment": "of {}, in which the policy acted",
    "checkpoint": "in the checkpoint itself",
}
_MOST_INPUTS = 5
"""Inputs that are named as those that move the action the most."""
_COLUMNS = ("activation", "units", "dead %", "saturated %", "dormant %", "rank")
_IN_SHORT = ("activation", "units", "dead %", "full %")
"""The same at a narrow terminal."""


def print_probe(console: Console, report: ProbeReport) -> None:
    """Print what the networks of one checkpoint do."""
    console.print(Text(printable(report.path), style="bold"))
    where = _SOURCES[report.source].format(printable(report.name))
    seen = f"{report.algorithm}, {counted(report.count, 'observation')} {where}"
    console.print(Text("\n".join(textwrap.wrap(seen, min(console.width, PROSE))), style="dim"))
    status = Text(f"{report.status.upper()}  ", style=STATUS_STYLES[report.status])
    console.print(status.append(_verdict(report), style="bold"))
    console.print()
    console.print(_map(report.networks, console.width))
    for network in report.networks:
        for line in _outputs(network):
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


def _verdict(report: ProbeReport) -> str:
    if report.findings:
        message = report.findings[0].message
        others = dict.fromkeys(one.rule for one in report.findings[1:])
        also = f" Also: {', '.join(others)}." if others else ""
        return f"{message[0].upper()}{message[1:]}.{also}"
    if report.status is Status.UNKNOWN:
        return "Too little was seen to judge by."
    return "No policy is saturated, no layer is dead, and what comes out makes sense."


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


# -- what comes out ----------------------------------------------------------------------------


def _entry(name: str, line: str, width: int) -> Text:
    head = f"{printable(name)}: "
    lines = textwrap.wrap(head + line, min(width, PROSE), subsequent_indent="  ")
    text = Text("\n".join(lines))
    text.stylize("bold", 0, len(head) - 2)
    return text


def _outputs(network: NetworkActivity) -> Iterator[str]:
    """Yield a line about the actions, and one about the values."""
    if network.actions is not None:
        yield "; ".join(_acting(network.actions))
    if network.values is not None:
        yield "; ".join(_valuing(network.values))


def _acting(actions: ActionActivity) -> Iterator[str]:
    if actions.commonest is not None:
        yield f"its commonest choice on {_percent(actions.commonest)} of the observations"
    if actions.likeliest is not None:
        yield f"the likeliest has a mean probability of {_percent(actions.likeliest)}"
    if actions.spread:
        yield f"its actions vary by {_numbers(actions.spread)} (half of the range is 1)"
        bounds = [a + b for a, b in zip(actions.lower, actions.upper, strict=True)]
        yield f"they are at a bound on {_percents(bounds)} of the observations"
    if actions.flat:
        yield f"Tanh has no gradient for {_percent(actions.flat)} of them"
    if actions.deviation is not None:
        yield f"exploration deviates by {actions.deviation:.3g}"
    if actions.sensitivity:
        ranked = sorted(enumerate(actions.sensitivity), key=lambda one: -one[1])
        inputs = ", ".join(f"{i} ({x:.2g})" for i, x in ranked[:_MOST_INPUTS])
        yield f"the inputs that move them most are {inputs}"


def _valuing(values: ValueActivity) -> Iterator[str]:
    yield f"values from {values.low:.4g} to {values.high:.4g}, mean {values.mean:.4g}"
    if values.largest is not None:
        yield f"rewards allow {values.largest:.4g}"
    if values.residual is not None:
        yield f"{_percent(values.residual)} away from their targets"
    if values.correlation is not None:
        yield f"correlation with them {values.correlation:.3f}"
    if values.disagreement is not None:
        yield f"twins differ by {_percent(values.disagreement)} of the deviation"
    if values.action_effect is not None:
        yield f"the action moves them by {_percent(values.action_effect)} of it"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _percents(shares: Sequence[float]) -> str:
    return ", ".join(f"{100 * share:.3g}" for share in shares) + " %"


def _numbers(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers)
