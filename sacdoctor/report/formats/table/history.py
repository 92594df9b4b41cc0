"""A run's history as a table for people: one line a checkpoint, small curves, what came up when."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.history import Crash, Event, History, Onset, RewardCurve, Run, Snapshot
from sacdoctor.model import Finding
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import (
    NARROW,
    PROSE,
    STATUS_STYLES,
    STYLES,
    bare_table,
    finding_text,
    is_ascii,
    percent_text,
)
from sacdoctor.report.sparkline import sparkline
from sacdoctor.report.text import counted
from sacdoctor.severity import Severity, Status

_MOST_ROWS = 30
"""Checkpoints listed one by one; of more, those that differ from the one before."""
_MOST_NAMES = 4
_NUMBERS = 90
"""Columns that all else in the table takes beside the file's name."""
_FLAT = 0.01
"""A quantity that varies by a smaller share than this has no curve."""
_CURVES: tuple[tuple[str, Callable[[Snapshot], float | None]], ...] = (
    ("zero %", lambda s: s.report.summary.zero_percent if s.report.summary else None),
    ("weight norm", lambda s: s.norms.weight),
    ("update norm", lambda s: s.norms.update),
    ("gradient norm", lambda s: max(s.gradient_norms.values(), default=None)),
    ("entropy coefficient", lambda s: s.entropy_coefficient),
)


def print_history(console: Console, history: History) -> None:
    """Print what a run's folder tells."""
    console.print(Text(printable(history.path), style="bold"))
    console.print(_headline(history))
    for run in _with_checkpoints(history):
        console.print()
        _print_run(console, run)
    for curve in history.curves:
        console.print()
        _print_curve(console, curve)
    width = min(console.width, PROSE)
    for crash in history.crashes:
        console.print()
        console.print(_crash(crash, width))
    if history.notes:
        console.print()
        for note in history.notes:
            console.print(Text(f"{printable(note.path)}: {note.message}", style="dim"))


def _with_checkpoints(history: History) -> list[Run]:
    """Return the runs of which at least one checkpoint could be read to its end."""
    return [run for run in history.runs if run.snapshots]


def _headline(history: History) -> Text:
    status = Status.worst(history.statuses - {Status.ERROR})
    runs = _with_checkpoints(history)
    if history.unreadable and not runs:
        status = Status.ERROR
    text = Text(f"{status.upper()}  ", style=STATUS_STYLES[status])
    checkpoints = sum(len(run.snapshots) for run in runs)
    parts = [counted(checkpoints, "checkpoint")]
    if len(runs) > 1:
        parts[0] += f" of {len(runs)} different runs"
    if history.unreadable:
        parts.append(f"{len(history.unreadable):,} that cannot be read")
    onsets = sum(len(run.onsets) for run in history.runs)
    if history.crashes:
        parts.append(counted(len(history.crashes), "reward crash", "reward crashes"))
    together = sum(len(run.findings) + len(run.code) for run in history.runs)
    if onsets + together:
        parts.append(counted(onsets + together, "finding"))
    elif not history.crashes:
        parts.append("no findings")
    return text.append(", ".join(parts) + ".", style="bold")


def _print_run(console: Console, run: Run) -> None:
    head = Text(printable(run.name), style="bold")
    about = f"  {run.algorithm or 'unknown algorithm'}, {counted(len(run.snapshots), 'checkpoint')}"
    console.print(head.append(about, style="not bold dim"))
    console.print(_table(run, console.width))
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


def _table(run: Run, width: int) -> Table:
    table = bare_table()
    wide = width >= NARROW
    longest = max(len(_file_name(snapshot.report.path)) for snapshot in run.snapshots)
    with_file = width >= _NUMBERS + longest
    for name in ("steps", *(("updates",) if wide else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for name in ("zero %", "dead", "weights", "update", "rate", "entropy", "gradient"):
        table.add_column(name, justify="right", no_wrap=True)
    if with_file:
        table.add_column("file", no_wrap=True, style="dim")
    hidden = 0
    for number, snapshot in enumerate(run.snapshots):
        if _is_like_the_one_before(run.snapshots, number):
            hidden += 1
            continue
        if hidden:
            table.add_row(Text(f"+{hidden:,}", style="dim"), *[""] * (len(table.columns) - 1))
            hidden = 0
        table.add_row(*_row(snapshot, wide, with_file))
    return table


def _is_like_the_one_before(snapshots: Sequence[Snapshot], number: int) -> bool:
    if len(snapshots) <= _MOST_ROWS or number in (0, len(snapshots) - 1):
        return False
    now, before = snapshots[number].report, snapshots[number - 1].report
    return (now.status, [f.rule for f in now.findings], now.optimizer_learning_rates) == (
        before.status,
        [f.rule for f in before.findings],
        before.optimizer_learning_rates,
    )


def _row(snapshot: Snapshot, wide: bool, with_file: bool) -> list[Text]:
    report = snapshot.report
    rates = [rate for rate in report.optimizer_learning_rates.values() if rate is not None]
    if not rates and report.learning_rate is not None:
        rates = [report.learning_rate]
    gradients = snapshot.gradient_norms.values()
    status = Text(report.status, style=STATUS_STYLES[report.status])
    cells = [
        Text(_count(report.num_timesteps)),
        *([Text(_count(report.n_updates))] if wide else []),
        Text("fixed copy", style="dim") if snapshot.is_repaired else status,
        Text(percent_text(report.summary.zero_percent) if report.summary else ""),
        Text(f"{snapshot.dead_biases:,}", style="" if snapshot.dead_biases else "dim"),
        Text(_number(snapshot.norms.weight)),
        Text(_number(snapshot.norms.update)),
        Text(_number(max(rates, default=None))),
        Text(_number(snapshot.entropy_coefficient)),
        Text(_number(max(gradients, default=None))),
    ]
    return [*cells, *([Text(printable(_file_name(report.path)))] if with_file else [])]


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _curves(run: Run, console: Console) -> Iterator[Text]:
    """Yield a line for each quantity that changes over the run."""
    for name, value_of in _CURVES:
        values = [value_of(s) for s in run.snapshots if not s.is_repaired]
        known = [value for value in values if value is not None]
        if len(known) > 2 and max(known) - min(known) > _FLAT * abs(max(known)):
            yield _curve(name, values, console)


def _curve(name: str, values: Sequence[float | None], console: Console) -> Text:
    known = [value for value in values if value is not None]
    picture = sparkline(values, max(10, console.width - 46), ascii_only=is_ascii(console))
    text = Text(f"{name:20}", style="dim").append(picture, style="not dim cyan")
    return text.append(f"  {_number(min(known))} to {_number(max(known))}", style="dim")


def _print_curve(console: Console, curve: RewardCurve) -> None:
    head = Text(printable(curve.log), style="bold")
    about = "running mean of the return"
    if curve.episodes is not None:
        about = counted(curve.episodes, "episode")
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
    where = f"in episode {crash.episode:,} (step {crash.timesteps:,})"
    if crash.episode is None:
        where = f"about step {crash.timesteps:,}"
    text = Text(f"reward crash  {where}", style=STYLES[Severity.WARNING])
    lines = [f"the median return fell from {crash.before:.4g} to {crash.after:.4g}"]
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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
