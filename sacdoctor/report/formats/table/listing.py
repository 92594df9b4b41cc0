"""Many checkpoints for people: a line for each, the worst first, and a count of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from sacdoctor.model import Report
from sacdoctor.printable import printable
from sacdoctor.report.formats.table.style import NARROW, STATUS_STYLES, is_ascii
from sacdoctor.report.text import counted
from sacdoctor.report.verdict import in_short
from sacdoctor.severity import Status

_WORST_FIRST = sorted(Status, key=[*Status].index, reverse=True)
_LEAST_PATH, _LEAST_WORDS = 20, 26
"""Columns that a path, and the words about it, are not cut below."""


class Line(NamedTuple):
    """What is kept of a report to say it on a line: some hundred bytes, however large it was."""

    status: Status
    path: str
    algorithm: str
    steps: str
    words: str

    @classmethod
    def of(cls, report: Report) -> Line:
        """Return the line about a report."""
        steps = "" if report.num_timesteps is None else f"{report.num_timesteps:,}"
        return cls(
            report.status,
            printable(report.path),
            printable(report.algorithm or ""),
            steps,
            printable(in_short(report)),
        )


def print_lines(console: Console, lines: Sequence[Line], *, with_totals: bool = True) -> None:
    """Print a line per checkpoint, the worst first, and how many there are of each status."""
    cut = "..." if is_ascii(console) else "…"
    status, path, algorithm, steps, words = _widths(lines, console.width)
    for line in sorted(lines, key=lambda line: _WORST_FIRST.index(line.status)):
        text = Text(f"{line.status:{status}}  ", style=STATUS_STYLES[line.status], no_wrap=True)
        text.append(f"{_end(line.path, path, cut):{path}}  ", style="not bold default")
        if algorithm:
            facts = f"{line.algorithm:{algorithm}}  {line.steps:>{steps}}  "
            text.append(facts, style="not bold default dim")
        text.append(_start(line.words, words, cut), style="not bold default")
        text.rstrip()
        console.print(text, soft_wrap=True)
    if with_totals:
        console.print(_totals(line.status for line in lines))


def _widths(lines: Sequence[Line], width: int) -> tuple[int, int, int, int, int]:
    """Return the columns' widths; algorithm and steps are left out (0) where lines are narrow.

    Paths get what they need as long as the words beside them have room, then both share.
    """
    status, path, algorithm, steps, words = (
        max(len(line[column]) for line in lines) for column in range(5)
    )
    if width < NARROW:
        algorithm = steps = 0
    others = status + 2 + (algorithm + steps + 4 if algorithm else 0) + 2
    room = max(width - others, _LEAST_PATH + _LEAST_WORDS)
    path = min(path, max(room - min(words, max(_LEAST_WORDS, room // 2)), _LEAST_PATH))
    return status, path, algorithm, steps, room - path


def _end(text: str, width: int, cut: str) -> str:
    """Return a path that fits: its end tells files of one folder apart."""
    return text if len(text) <= width else cut + text[len(text) - width + len(cut) :]


def _start(text: str, width: int, cut: str) -> str:
    return text if len(text) <= width else text[: width - len(cut)].rstrip() + cut


def _totals(statuses: Iterable[Status]) -> Text:
    counts = Counter(statuses)
    parts = [
        Text(f"{counts[status]:,} {status}", style=style)
        for status, style in STATUS_STYLES.items()
        if status in counts
    ]
    return Text(f"{counted(counts.total(), 'checkpoint')}: ").append_text(Text(", ").join(parts))
