"""Small pieces of text that several output formats share."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: str) -> str:
    """Return `text` with control characters escaped.

    Names come from files that nobody vouches for; a terminal must not obey them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """Return e.g. `1 tensor`, `1,234 tensors`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


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
