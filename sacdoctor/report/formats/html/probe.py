"""The page of a probe: per network a map of its layers at work, and what comes out."""

from __future__ import annotations

from typing import NamedTuple, TextIO

from sacdoctor.diagnosis import LayerActivity, NetworkActivity
from sacdoctor.report.at_work import outputs, what_was_seen
from sacdoctor.report.formats.html.page import write_page
from sacdoctor.report.results import ProbeResult
from sacdoctor.report.verdict import verdict_of_work


class Row(NamedTuple):
    """A layer with its shares in percent; `saturated` is None where its units have no limits."""

    layer: LayerActivity
    dead: float
    saturated: float | None
    dormant: float


class Sheet(NamedTuple):
    """A network: its layers, and sentences about what comes out."""

    name: str
    rows: tuple[Row, ...]
    said: tuple[str, ...]


def write(result: ProbeResult, file: TextIO) -> None:
    """Write the page to a text file."""
    report = result.report
    write_page(
        "probe",
        file,
        report=report,
        configuration=result.configuration,
        verdict=verdict_of_work(report),
        seen=what_was_seen(report),
        sheets=[_sheet(network) for network in report.networks],
    )


def _sheet(network: NetworkActivity) -> Sheet:
    said = tuple(f"{line[0].upper()}{line[1:]}." for line in outputs(network))
    return Sheet(network.name, tuple(map(_row, network.layers)), said)


def _row(layer: LayerActivity) -> Row:
    share = 100.0 / layer.units
    saturated = None if layer.saturated is None else share * layer.saturated
    return Row(layer, share * layer.dead, saturated, share * layer.dormant)
