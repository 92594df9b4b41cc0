"""The course of a run as a page shows it: its curves with what came up, and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite

from markupsafe import Markup
from msgspec import Struct

from sacdoctor.checkup import Happening
from sacdoctor.history import RewardCurve, Run, Snapshot
from sacdoctor.report.formats.html.charts import Curve, Mark, Panel, course
from sacdoctor.report.formats.html.page import number
from sacdoctor.report.quantities import (
    CURVES,
    gradient_norm,
    learning_rate,
    update_norm,
    weight_norm,
)
from sacdoctor.severity import worst

_FLAT = 0.01
"""A quantity that varies by a smaller share than this is a number, not a curve."""
_MOST_ROWS = 200
_MOST_MARKS = 20
_MOST_PICTURES = 8
"""Runs whose curves are drawn."""
_ENDLESS = 2**53
"""Timesteps from which on an axis does not tell one from the next."""
_MOST_LOGS = 4
"""Returns of a run that are drawn as curves of one panel: as many as there are colours."""


class Entry(Struct, frozen=True):
    """What came up at one place of the time axis, under the number that the picture has there."""

    number: int | None
    when: str
    happenings: tuple[Happening, ...]

    @property
    def severity(self) -> str:
        """The worst of what came up."""
        return worst(one.severity for one in self.happenings)


class Line(Struct, frozen=True):
    """A checkpoint as a row of the table."""

    snapshot: Snapshot
    file: str
    status: str
    cells: tuple[str, ...]


class Course(Struct, frozen=True):
    """A run: its picture where something varies, what is constant, and its checkpoints.

    `logs` are those whose returns are drawn, in the order of their colours; `run` is None where
    returns belong to no run whose checkpoints are there. `has_lost` says that a value is NaN or
    infinite somewhere.
    """

    key: str
    run: Run | None
    picture: Markup | None
    logs: tuple[str, ...]
    constant: tuple[str, ...]
    entries: tuple[Entry, ...]
    lines: tuple[Line, ...]
    hidden: int
    has_lost: bool


COLUMNS = ("zero %", "dead biases", "weight norm", "update norm", "learning rate", "gradient norm")


def courses(
    runs: Sequence[Run], curves: Sequence[RewardCurve], timeline: Sequence[Happening]
) -> tuple[Course, ...]:
    """Return each run with its checkpoints, and the returns that belong to none of them."""
    named = {run.name for run in runs}
    is_one = len(runs) == 1
    found = []
    for place, run in enumerate(runs):
        own = [c for c in curves if c.run == run.name or (is_one and c.run not in named)]
        of_run = [one for one in timeline if one.run in ("", run.name)]
        found.append(_course(f"run-{place}", run, own, of_run, draw=place < _MOST_PICTURES))
    left = [] if is_one else [curve for curve in curves if curve.run not in named]
    if left:
        of_none = [one for one in timeline if not one.run]
        found.append(_course("run-none", None, left, of_none, draw=True))
    return tuple(found)


def _course(
    key: str,
    run: Run | None,
    curves: Sequence[RewardCurve],
    timeline: Sequence[Happening],
    *,
    draw: bool,
) -> Course:
    panels, constant, has_lost = [], [], False
    returns = [curve for curve in curves if len(curve.timesteps) > 1]
    if returns:
        of_logs = [Curve(curve.timesteps, curve.points) for curve in returns[:_MOST_LOGS]]
        panels.append(Panel("return", of_logs))
    snapshots = [] if run is None else [one for one in run.snapshots if _is_placed(one)]
    xs = [float(one.timesteps or 0) for one in snapshots]
    for title, value_of in (*CURVES, ("learning rate", learning_rate)):
        ys = [value_of(snapshot) for snapshot in snapshots]
        known = [y for y in ys if y is not None and isfinite(y)]
        is_lost = any(y is not None and not isfinite(y) for y in ys)
        has_lost = has_lost or is_lost
        if len(known) > 1 and (is_lost or max(known) - min(known) > _FLAT * abs(max(known))):
            panels.append(Panel(title, [Curve(xs, ys)]))
        elif len(known) > 1:
            constant.append(f"{title} {number(known[-1])}")
    entries = tuple(_entries(timeline))
    picture = None
    if panels and draw:
        titles = ", ".join(panel.title for panel in panels)
        label = f"Curves over the timesteps of the run: {titles}. The table below has the numbers."
        picture = course(panels, list(_marks(entries)), label, key)
    lines = [] if run is None else list(map(_line, run.snapshots))
    return Course(
        key,
        run,
        picture,
        tuple(curve.log for curve in returns[:_MOST_LOGS]),
        tuple(constant),
        entries,
        tuple(lines[:_MOST_ROWS]),
        max(0, len(lines) - _MOST_ROWS),
        has_lost,
    )


def _is_placed(snapshot: Snapshot) -> bool:
    is_own = not snapshot.is_repaired and snapshot.copy_of is None
    return is_own and snapshot.timesteps is not None and abs(snapshot.timesteps) < _ENDLESS


def _entries(timeline: Iterable[Happening]) -> Iterator[Entry]:
    """Yield what came up, in the order of time; what has one place has one number."""
    at: dict[tuple[int | None, int], list[Happening]] = {}
    for one in timeline:
        at.setdefault((one.after_timesteps, one.by_timesteps), []).append(one)
    for place, ((after, by), here) in enumerate(at.items(), 1):
        when = f"{by:,}" if after is None else f"{after:,} to {by:,}"
        has_room = place <= _MOST_MARKS and max(abs(by), abs(after or 0)) < _ENDLESS
        yield Entry(place if has_room else None, when, tuple(here))


def _marks(entries: Iterable[Entry]) -> Iterator[Mark]:
    for entry in entries:
        if entry.number is not None:
            one = entry.happenings[0]
            severity = worst(each.severity for each in entry.happenings)
            yield Mark(entry.number, one.after_timesteps, one.by_timesteps, severity)


def _line(snapshot: Snapshot) -> Line:
    report = snapshot.report
    status = "copy" if snapshot.copy_of is not None else str(report.status)
    zeros = report.summary.zero_percent if report.summary else None
    return Line(
        snapshot,
        report.path.replace("\\", "/").rpartition("/")[2],
        "fixed copy" if snapshot.is_repaired else status,
        (
            number(zeros),
            f"{snapshot.dead_biases:,}",
            number(weight_norm(snapshot)),
            number(update_norm(snapshot)),
            number(learning_rate(snapshot)),
            number(gradient_norm(snapshot)),
        ),
    )
