"""The page of a checkup: the verdict, each fault once, the course of the run, its layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from sacdoctor.checkup import Checkup, Concern
from sacdoctor.model import Finding
from sacdoctor.report.formats.html.course import COLUMNS, courses
from sacdoctor.report.formats.html.layers import LayerMap, layer_map
from sacdoctor.report.formats.html.page import write_page
from sacdoctor.report.results import CheckupResult
from sacdoctor.report.verdict import verdict_of_run

_MOST_MAPS = 3
"""Runs in a folder whose newest layers are shown."""


def write(result: CheckupResult, file: TextIO) -> None:
    """Write the page to a text file."""
    checkup = result.checkup
    history = checkup.history
    write_page(
        "checkup",
        file,
        checkup=checkup,
        configuration=result.configuration,
        verdict=verdict_of_run(checkup),
        courses=courses(history.runs_with_checkpoints, history.curves, checkup.timeline)
        if history is not None
        else (),
        columns=COLUMNS,
        maps=list(_maps(checkup)),
    )


def _maps(checkup: Checkup) -> Iterator[tuple[str, LayerMap]]:
    """Yield the name of each checkpoint whose layers are shown, with their map."""
    found = [of for one in checkup.concerns for of in _with_what_follows(one)]
    if checkup.report is not None and checkup.report.layers:
        yield checkup.report.path, layer_map(checkup.report.layers, found, checkup.path, "map")
    runs = checkup.history.runs_with_checkpoints if checkup.history is not None else ()
    for place, run in enumerate(runs[:_MOST_MAPS]):
        newest = [one for one in run.snapshots if not one.is_repaired][-1:]
        for snapshot in newest:
            own = {finding.rule for finding in (*snapshot.report.findings, *run.findings)}
            here = [one for one in found if one.rule in own or len(runs) == 1]
            path = snapshot.report.path
            yield path, layer_map(run.layers, here, path, f"map-{place}")


def _with_what_follows(concern: Concern) -> Iterator[Finding]:
    yield concern.finding
    for one in concern.explains:
        yield one.finding
