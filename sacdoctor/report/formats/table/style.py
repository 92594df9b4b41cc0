"""What the tables look like: their colours, widths, and how names and findings are broken."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sacdoctor.model import Finding
from sacdoctor.report.text import flow, printable_lines
from sacdoctor.severity import Severity, Status

STYLES = {
    Severity.CRITICAL: "bold red",
    Severity.WARNING: "yellow",
    Severity.NOTICE: "cyan",
    Severity.OK: "green",
}
STATUS_STYLES = {
    Status.CRITICAL: STYLES[Severity.CRITICAL],
    Status.WARNING: STYLES[Severity.WARNING],
    Status.NOTICE: STYLES[Severity.NOTICE],
    Status.UNKNOWN: STYLES[Severity.WARNING],
    Status.HEALTHY: STYLES[Severity.OK],
    Status.ERROR: STYLES[Severity.CRITICAL],
}
"""In the order in which checkpoints are counted."""
MOST_ROWS = 500
"""Rows of a table: nobody reads more, and a row takes half a millisecond to lay out."""
NARROW = 100
"""Columns below which the bar is shorter and the number of elements is left out."""
PROSE = 96
"""Longest line of running text: longer ones are hard to read, however wide the terminal."""
_MAX_EVIDENCE = 12
"""Lines of evidence under a finding; a hostile file can name thousands of things."""


def is_ascii(console: Console) -> bool:
    """Return whether the console's encoding has nothing beyond ASCII."""
    return console.options.ascii_only


def bare_table(*, show_header: bool = True) -> Table:
    """Return an empty table without lines, its columns two spaces apart."""
    return Table(
        box=None,
        show_header=show_header,
        header_style="dim",
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )


def dotted(name: str, width: int, indent: str) -> str:
    """Return a tensor's name, broken only after dots where it is wider than `width`."""
    return flow(split_after(".", name), width, indent)


def split_after(separator: str, text: str) -> list[str]:
    """Split `text` after each separator, which stays."""
    return [piece + separator for piece in text.split(separator)[:-1]] + [text.split(separator)[-1]]


def percent_text(percent: float) -> str:
    """Return a share of zeros with one decimal."""
    # Only what is exactly so may read 0 or 100.
    if 0 < percent < 0.05:
        return "<0.1"
    if 99.95 <= percent < 100:
        return ">99.9"
    return f"{percent:.1f}"


def finding_text(finding: Finding, width: int, *, is_known: bool = False) -> Text:
    """Return a finding as a heading and indented text; lines of code in it stay as they are.

    One that `is_known` says so: a baseline has it. `width` is that of the terminal; running text
    stays narrower than `PROSE`.
    """
    width = max(20, min(width, PROSE) - 6)
    style = STYLES[finding.severity]
    text = Text().append(f"{finding.rule} {finding.name}  {finding.severity.value}", style=style)
    if is_known:
        text.append("  known", style="dim")
    for lines, look in (
        (_wrapped(finding.message, width), ""),
        (_shortened(finding.evidence, width), "dim"),
        (_wrapped(f"Do: {finding.remedy}", width), ""),
    ):
        for line in lines:
            text.append(f"\n      {line}", style=look)
    return text


def _wrapped(body: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in printable_lines(body).split("\n"):
        lines += [line] if line.startswith("    ") else textwrap.wrap(line, width)
    return lines


def _shortened(evidence: str, width: int) -> list[str]:
    head = evidence[: _MAX_EVIDENCE * width]  # all that there is room for
    lines = _wrapped(head, width)
    if head == evidence and len(lines) <= _MAX_EVIDENCE:
        return lines
    return [*lines[: _MAX_EVIDENCE - 1], "and more; --format json lists all"]
