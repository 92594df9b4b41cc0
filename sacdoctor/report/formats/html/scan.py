"""The page of a scan: one checkpoint in full, or of several a list and those that are bad."""

from __future__ import annotations

from typing import TextIO

from msgspec import Struct

from sacdoctor.model import Report
from sacdoctor.report.formats.html.layers import LayerMap, layer_map
from sacdoctor.report.formats.html.page import write_page
from sacdoctor.report.results import ScanResult
from sacdoctor.report.verdict import in_short, verdict
from sacdoctor.severity import Status

_MOST_IN_FULL = 6
"""Of several checkpoints, so many are shown with all their layers: a page is to stay readable."""

_BAD = (Status.WARNING, Status.CRITICAL)


class Line(Struct, frozen=True):
    """A checkpoint in the list of all: `key` is where it is shown in full, if it is."""

    path: str
    status: Status
    steps: int | None
    words: str
    key: str | None


class Sheet(Struct, frozen=True):
    """A checkpoint in full."""

    key: str
    report: Report
    verdict: str
    map: LayerMap


def write(result: ScanResult, file: TextIO) -> None:
    """Write the page to a text file."""
    lines: list[Line] = []
    kept: list[tuple[str, Report]] = []
    first: tuple[str, Report] | None = None
    order = list(Status)
    for place, report in enumerate(result.reports):
        key = f"checkpoint-{place}"
        if place == 0:
            first = (key, report)
        if report.error is None and (result.verbose or report.status in _BAD):
            kept = sorted([*kept, (key, report)], key=lambda one: -order.index(one[1].status))
            kept = kept[:_MOST_IN_FULL]
        lines.append(Line(report.path, report.status, report.num_timesteps, in_short(report), key))
    if len(lines) == 1 and first is not None and first[1].error is None:
        kept = [first]
    sheets = [
        Sheet(
            key,
            report,
            verdict(report),
            layer_map(report.layers, report.findings, report.path, key),
        )
        for key, report in kept
    ]
    statuses = [line.status for line in lines]
    write_page(
        "scan",
        file,
        lines=lines,
        shown={sheet.key for sheet in sheets},
        sheets=sheets,
        status=Status.worst(statuses),
        counts=[
            (status, statuses.count(status)) for status in reversed(Status) if status in statuses
        ],
        configuration=result.configuration,
    )
