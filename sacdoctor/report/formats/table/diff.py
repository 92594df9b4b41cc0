"""The difference of two checkpoints as tables for people: what moved, by component."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.history import Difference, SettingDifference, TensorDifference
from sacdoctor.optimizers import STEP
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import MOST_ROWS, bare_table, dotted, is_ascii
from sacdoctor.report.text import counted

_NUMBERS = 34
"""Columns that the numbers beside a tensor's name take."""
_PICKLED = re.compile(r"pickled <class '(.*)'>, CRC-32 ")
"""How a pickled value, which is not opened, stands in a difference."""
_ONE_SCREEN = 30
"""So many tensors, or moments, that differ are listed unasked: a repair's, or those of a layer."""


def print_difference(console: Console, difference: Difference, all_tensors: bool = False) -> None:
    """Print what differs, tensor by tensor or by component; what is identical is only counted.

    Where training went on between the two all of them differ: then, unless `all_tensors` are asked
    for, a component has one line, with the most that any of its tensors moved.
    """
    folded = False
    console.print(Text(f"{printable(difference.a)} -> {printable(difference.b)}", style="bold"))
    console.print(_headline(difference))
    for title, parts in (("tensors", difference.tensors), ("moments", difference.optimizer)):
        if any(part.status != "identical" for part in parts):
            lists = all_tensors or _differing(parts) <= _ONE_SCREEN
            folded |= not lists
            console.print()
            console.print(_table(title, parts, console, lists))
    if difference.settings:
        console.print()
        console.print(_settings(difference.settings, console.width))
    if folded:
        console.print(Text("\nThe most of any tensor in each; --all lists them.", style="dim"))


def _headline(difference: Difference) -> Text:
    parts = []
    for count, total, one in (
        (_differing(difference.tensors), len(difference.tensors), "tensor"),
        (_differing(difference.optimizer), len(difference.optimizer), "optimizer moment"),
        (
            len(difference.settings),
            len(difference.settings) + difference.same_settings,
            "setting",
        ),
    ):
        if total:
            parts.append(f"{count:,} of {counted(total, one)}")
    if difference.is_empty:
        return Text("SAME  ", style="green").append(
            "Tensors, moments and settings are equal.", style="bold"
        )
    return Text("DIFFERENT  ", style="yellow").append(", ".join(parts) + ".", style="bold")


def _differing(parts: Iterable[TensorDifference]) -> int:
    return sum(part.status != "identical" for part in parts)


def _table(title: str, parts: Sequence[TensorDifference], console: Console, lists: bool) -> Table:
    table = bare_table()
    table.add_column(f"component and {title}" if lists else f"{title} of", overflow="fold")
    table.add_column("changed", justify="right", no_wrap=True)
    table.add_column("largest", justify="right", no_wrap=True)
    table.add_column("relative L2", justify="right", no_wrap=True)
    groups: dict[str, list[TensorDifference]] = {}
    for part in parts:
        groups.setdefault(part.component, []).append(part)
    for component, members in groups.items():
        if table.row_count >= MOST_ROWS:
            table.add_row(Text("… --format json has all that follows", style="dim"))
            break
        count = _differing(members)
        statuses = {member.status for member in members}
        share = f"{count:,} of {len(members):,}" if count else "identical"
        if statuses <= {"added"} or statuses <= {"removed"}:
            share, members = f"{len(members):,} {statuses.pop()}", []
        table.add_row(
            Text(printable(component), style="bold" if count else "dim"),
            Text(share, style="dim"),
            *([] if lists else _most(members)),
        )
        if not lists:
            continue
        for part in members:
            if part.status != "identical" and table.row_count < MOST_ROWS:
                name = part.name if part.moment is None else f"{part.name}  {part.moment}"
                name = dotted(printable(name), max(24, console.width - _NUMBERS), "    ")
                table.add_row("  " + name, *_numbers(part, "x" if is_ascii(console) else "×"))
    return table


def _most(members: Iterable[TensorDifference]) -> tuple[str, str]:
    """Return the most that any of them moved, at one element and as a whole; steps only count."""
    moved = [member for member in members if member.moment != STEP]
    sizes = [member.max_abs for member in moved if member.max_abs]
    shares = [member.relative_l2 for member in moved if member.relative_l2]
    return _short(max(sizes, default=None)), _short(max(shares, default=None))


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"


def _numbers(part: TensorDifference, times: str) -> tuple[str, ...]:
    if part.status == "reshaped":
        return (f"{_shape(part.shape_before, times)} -> {_shape(part.shape_after, times)}",)
    if part.status != "changed":
        return (part.status,)
    changed = f"{part.changed:,}" if part.changed else "type only"
    if part.max_abs is None:
        return changed, "undefined"
    return changed, _short(part.max_abs), _short(part.relative_l2)


def _shape(shape: tuple[int, ...] | None, times: str) -> str:
    return times.join(map(str, shape or ())) or "number"


def _settings(settings: Iterable[SettingDifference], width: int) -> Table:
    table = bare_table()
    table.add_column("settings", no_wrap=True)
    for when in ("before", "after"):
        table.add_column(when, no_wrap=True, overflow="ellipsis", max_width=max(16, width // 3))
    for setting in settings:
        values = _value(setting.before), _value(setting.after)
        types = [_PICKLED.match(value) for value in values]
        if types[0] and types[1] and types[0][1] == types[1][1]:
            values = types[0][1], "another one"  # its checksum tells nobody more
        table.add_row(*map(printable, (setting.key, *values)))
    return table


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "not there" if value is None else json.dumps(value)
