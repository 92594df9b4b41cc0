"""Text out of files, made safe to show. Below all floors, and light: error lines need it too."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` with control characters escaped.

    Names come from files that nobody vouches for; a terminal must not obey them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
