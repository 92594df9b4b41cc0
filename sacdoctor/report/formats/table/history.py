"""A run's history as a table for people: one line a checkpoint, small curves, what came up when."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from typing import Literal

from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.history import Crash, Event, History, Onset, RewardCurve, Run, Snapshot
from sacdoctor.model import Finding
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import (
    PROSE,
    STATUS_STYLES,
    STYLES,
    bare_table,
    finding_text,
    is_ascii,
    percent_text,
)
from sacdoctor.report.quantities import (
    CURVES,
    gradient_norm,
    learning_rate,
    update_norm,
    weight_norm,
)
from sacdoctor.report.sparkline import sparkline
from sacdoctor.report.text import counted
from sacdoctor.report.verdict import verdict_of_history
from sacdoctor.severity import Severity

_MOST_ROWS = 30
"""Checkpoints listed one by one; of more, those that differ from the one before."""
_MOST_NAMES = 4
_GAP = 2
"""Spaces between two columns."""
_FLAT = 0.01
"""A quantity that varies by a smaller share than this has no curve."""


def print_history(console: Console, history: History) -> None:
    """Print what a run's folder tells."""
    console.print(Text(printable(history.path), style="bold"))
    console.print(_headline(history))
    for run in history.runs_with_checkpoints:
        console.print()
        _print_run(console, run)
    for curve in history.curves:
        console.print()
        _print_curve(console, curve)
    width = min(console.width, PROSE)
    for of in history.logged:
        console.print()
        console.print(_indented(finding_text(of.finding, width), [f"In {of.log}"], width))
    for crash in history.crashes:
        console.print()
        console.print(_crash(crash, width))
    if history.notes:
        console.print()
        for note in history.notes:
            console.print(Text(f"{printable(note.path)}: {note.message}", style="dim"))


def _headline(history: History) -> Text:
    status, words = verdict_of_history(history)
    text = Text(f"{status.upper()}  ", style=STATUS_STYLES[status])
    return text.append(words, style="bold")


def _print_run(console: Console, run: Run) -> None:
    head = Text(printable(run.name), style="bold")
    about = f"  {run.algorithm or 'unknown algorithm'}, {counted(len(run.snapshots), 'checkpoint')}"
    console.print(head.append(about, style="not bold dim"))
    console.print(_table(run, console.width))
    for remark in _about_rows(run):
        console.print(Text(remark, style="dim"))
    curves = list(_curves(run, console))
    if curves:
        console.print()
        for line in curves:
            console.print(line)
    width = min(console.width, PROSE)
    for onset in run.onsets:
        console.print()
        console.print(_onset(onset, width))
    for finding in run.findings:
        console.print()
        console.print(finding_text(finding, width))
    of_code: dict[Finding, list[str]] = {}
    for path, finding in run.code:
        of_code.setdefault(finding, []).append(_file_name(path))
    for finding, files in of_code.items():
        console.print()
        console.print(_indented(finding_text(finding, width), [f"In {', '.join(files)}"], width))
    for line in _causes(run, width):
        console.print()
        console.print(line)


def _about_rows(run: Run) -> Iterator[str]:
    """Yield what a row alone does not tell: of what it is a copy, where SB3's counter restarted."""
    for snapshot in run.snapshots:
        if snapshot.copy_of is not None:
            copy, of = map(_file_name, (snapshot.report.path, snapshot.copy_of))
            yield printable(f"{copy} is a copy of {of}.")
    restarts = sorted({s.steps_before for s in run.snapshots if s.steps_before})
    if restarts:
        steps = ", ".join(f"{step:,}" for step in restarts)
        yield f"learn() set num_timesteps back to 0 at {steps} steps; the steps here go on."


def _table(run: Run, width: int) -> Table:
    """Return the table of a run's checkpoints: the columns that say something, and that fit."""
    shown = list(_shown(run.snapshots))
    rows = [snapshot for snapshot in shown if isinstance(snapshot, Snapshot)]
    cells = {column: [column.cell(snapshot) for snapshot in rows] for column in _COLUMNS}
    columns = [column for column, texts in cells.items() if any(map(len, texts))]
    wide = {c: max(len(c.name), *map(len, cells[c])) + _GAP for c in columns}
    for column in sorted(columns, key=lambda column: -column.rank):
        if sum(wide[column] for column in columns) - _GAP <= width:
            break
        columns.remove(column)
    table = bare_table()
    for column in columns:
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        table.add_column(column.name, justify=justify, no_wrap=True)
    numbers = iter(range(len(rows)))
    for entry in shown:
        if isinstance(entry, int):
            table.add_row(Text(f"+{entry:,}", style="dim"), *[""] * (len(columns) - 1))
        else:
            number = next(numbers)
            table.add_row(*(cells[column][number] for column in columns))
    return table


def _shown(snapshots: Sequence[Snapshot]) -> Iterator[Snapshot | int]:
    """Yield the checkpoints that have a row, and how many were left out between two of them."""
    hidden = 0
    for number, snapshot in enumerate(snapshots):
        if _is_like_the_one_before(snapshots, number):
            hidden += 1
            continue
        if hidden:
            yield hidden
        hidden = 0
        yield snapshot


def _is_like_the_one_before(snapshots: Sequence[Snapshot], number: int) -> bool:
    if len(snapshots) <= _MOST_ROWS or number in (0, len(snapshots) - 1):
        return False
    now, before = snapshots[number], snapshots[number - 1]
    return _state(now) == _state(before)


def _state(snapshot: Snapshot) -> tuple[object, ...]:
    report = snapshot.report
    rules = [finding.rule for finding in report.findings]
    return report.status, rules, report.optimizer_learning_rates, snapshot.still


def _status(snapshot: Snapshot) -> Text:
    if snapshot.is_repaired:
        return Text("fixed copy", style="dim")
    if snapshot.copy_of is not None:
        return Text("copy", style="dim")
    return Text(snapshot.report.status, style=STATUS_STYLES[snapshot.report.status])


def _zeros(snapshot: Snapshot) -> Text:
    summary = snapshot.report.summary
    return Text(percent_text(summary.zero_percent) if summary else "")


class _Column(Struct, frozen=True):
    """A column: of those that do not fit, the one with the highest `rank` goes first."""

    name: str
    cell: Callable[[Snapshot], Text]
    rank: int = 0
    is_text: bool = False


_COLUMNS = (
    _Column("steps", lambda s: Text(_count(s.timesteps))),
    _Column("updates", lambda s: Text(_count(s.report.n_updates)), 7),
    _Column("status", _status, is_text=True),
    _Column("zero %", _zeros, 4),
    _Column("dead", lambda s: Text(f"{s.dead_biases:,}", style="" if s.dead_biases else "dim")),
    _Column("weight norm", lambda s: _number(weight_norm(s)), 5),
    _Column("update norm", lambda s: _number(update_norm(s)), 1),
    _Column("lr", lambda s: _number(learning_rate(s)), 2),
    _Column("ent coef", lambda s: _number(s.entropy_coefficient), 3),
    _Column("grad norm", lambda s: _number(gradient_norm(s)), 6),
    _Column("still", lambda s: Text(printable(", ".join(s.still)), style="yellow"), is_text=True),
    _Column("file", lambda s: Text(printable(_file_name(s.report.path)), style="dim"), 8, True),
)


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _curves(run: Run, console: Console) -> Iterator[Text]:
    """Yield a line for each quantity that changes over the run."""
    for name, value_of in CURVES:
        counted_ones = [s for s in run.snapshots if not s.is_repaired and s.copy_of is None]
        values = [value_of(snapshot) for snapshot in counted_ones]
        known = [value for value in values if value is not None and isfinite(value)]
        if len(known) > 2 and max(known) - min(known) > _FLAT * abs(max(known)):
            yield _curve(name, values, console)


def _curve(name: str, values: Sequence[float | None], console: Console) -> Text:
    known = [value for value in values if value is not None and isfinite(value)]
    picture = sparkline(values, max(10, console.width - 46), ascii_only=is_ascii(console))
    text = Text(f"{name:20}", style="dim").append(picture, style="not dim cyan")
    return text.append(f"  {min(known):.3g} to {max(known):.3g}", style="dim")


def _print_curve(console: Console, curve: RewardCurve) -> None:
    head = Text(printable(curve.log), style="bold")
    about = "running mean of the return"
    if curve.episodes is not None:
        about = counted(curve.episodes, "episode")
    if curve.evaluations is not None:
        about = counted(curve.evaluations, "evaluation")
    console.print(head.append(f"  {about}", style="not bold dim"))
    console.print(_curve("return", curve.points, console))


def _onset(onset: Onset, width: int) -> Text:
    text = Text(f"{onset.rule} {onset.name}  {onset.severity.value}", style=STYLES[onset.severity])
    if onset.after_timesteps is None:
        when = f"in the first checkpoint that can show it ({onset.by_timesteps:,} steps)"
    else:
        when = f"came up between {onset.after_timesteps:,} and {onset.by_timesteps:,} steps"
    if onset.until_timesteps is not None:
        when += f", gone by {onset.until_timesteps:,}"
    return _indented(text, [when, _names(onset.tensors) or onset.message], width)


def _crash(crash: Crash, width: int) -> Text:
    where = f"about step {crash.timesteps:,}"
    if crash.episode is not None:
        where = f"in episode {crash.episode:,} (step {crash.timesteps:,})"
    text = Text(f"reward crash  {where}", style=STYLES[Severity.WARNING])
    lines = [f"the median return fell from {crash.before:.4g} to {crash.after:.4g}"]
    if crash.also_in:
        lines.append(f"seen in {', '.join((crash.log, *crash.also_in))}")
    lines += [f"before it: {_event(event)}" for event in crash.events]
    if crash.values:
        logged = [f"{n.removeprefix('train/')} {v:.3g}" for n, v in crash.values.items()]
        lines.append("at that time: " + ", ".join(logged))
    return _indented(text, lines, width)


def _event(event: Event) -> str:
    if event.after_timesteps == event.by_timesteps:
        return f"{event.name}, at {event.by_timesteps:,} steps"
    return f"{event.name}, between {event.after_timesteps:,} and {event.by_timesteps:,} steps"


def _causes(run: Run, width: int) -> Iterator[Text]:
    """Yield each cause in the last checkpoint that has biases in trouble, with its evidence."""
    for snapshot in reversed(run.snapshots):
        groups: dict[str, list[tuple[str, str]]] = {}
        for layer in snapshot.report.layers:
            if layer.severity in (Severity.WARNING, Severity.CRITICAL):
                groups.setdefault(layer.cause or "", []).append((layer.name, layer.evidence or ""))
        if groups:
            break
    else:
        return
    at = f"at {_count(snapshot.timesteps)} steps"
    for cause, members in groups.items():
        text = Text(f"cause: {cause}", style="bold").append(f"  {at}", style="not bold dim")
        lines = [f"{members[0][0]}: {members[0][1]}"]
        if len(members) > 1:
            lines.insert(0, _names([name for name, _ in members]))
        yield _indented(text, lines, width)


def _indented(text: Text, lines: Sequence[str], width: int) -> Text:
    for line in lines:
        for piece in textwrap.wrap(printable(line), max(20, width - 6)):
            text.append(f"\n      {piece}", style="not bold default")
    return text


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _count(number: int | None) -> str:
    return f"{number:,}" if number is not None else "?"


def _number(value: float | None) -> Text:
    if value is None:
        return Text()
    return Text(f"{value:.3g}", style="" if isfinite(value) else STYLES[Severity.CRITICAL])
