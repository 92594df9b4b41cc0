"""Small pieces of text that several output formats share."""

from __future__ import annotations

from collections.abc import Iterable

from sacdoctor.printable import printable


def printable_lines(text: str) -> str:
    """Return `text` with control characters escaped, line breaks kept."""
    return "\n".join(map(printable, text.split("\n")))


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return e.g. `1 tensor`, `1,234 tensors`; `many` is for plurals that take more than an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def flow(pieces: Iterable[str], width: int, indent: str = "") -> str:
    """Return the pieces one after the other, with line breaks only between pieces.

    A line is at most `width` characters long where its pieces allow it; lines after the first
    start with `indent`.
    """
    lines = [""]
    for piece in pieces:
        if lines[-1].strip() and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append(indent)
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)
