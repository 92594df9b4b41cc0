"""Text out of files, made safe to show. Below all floors, and light: error lines need it too."""

from __future__ import annotations

_CONTROLS = (*range(9), *range(11, 13), *range(14, 32), *range(127, 160))
"""C0, DEL and C1 but for tabs and line breaks."""
_DIRECTIONS = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Unicode's property Bidi_Control: text behind one may be shown in another order than it stands."""
_LINE_BREAKS = (0x2028, 0x2029)
_ESCAPES = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *_DIRECTIONS, *_LINE_BREAKS)}


def printable(text: str) -> str:
    """Return `text` with control characters escaped.

    Names come from files that nobody vouches for; a terminal must not obey them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escaped(text: str) -> str:
    r"""Return `text` with control characters, and those that turn its direction, as `\uXXXX`.

    Tabs and the usual line breaks stay, so that it may be a whole file. JSON, TOML and YAML read
    the escape as the character itself where it stands between double quotes.
    """
    return text.translate(_ESCAPES)
