"""How a page is made of a template: what is put into it is escaped, whatever it holds."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any, NamedTuple, TextIO

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sacdoctor.report.text import counted, printable_lines
from sacdoctor.version import __version__

_BREAKS = "._/\\"
"""A long name may be broken after one of these."""
_LONGEST, _LONGEST_NAME = 4_000, 400
"""Characters of a text and of a name that are shown: a hostile file's may be a megabyte long."""


class Block(NamedTuple):
    """A piece of a finding's text: running text, or lines of code that stay as they are."""

    text: str
    is_code: bool


def write_page(template: str, file: TextIO, **values: Any) -> None:
    """Write the page that the template makes of the values, piece by piece."""
    for piece in _ENVIRONMENT.get_template(f"{template}.html").generate(values):
        file.write(piece)


def blocks(text: str) -> Iterator[Block]:
    """Yield the paragraphs of a text, and its lines of code, which are indented by four."""
    code: list[str] = []
    for line in _cut(text, _LONGEST).split("\n"):
        if line.startswith("    "):
            code.append(line[4:])
            continue
        if code:
            yield Block("\n".join(code), True)
            code = []
        if line.strip():
            yield Block(line, False)
    if code:
        yield Block("\n".join(code), True)


def inline(text: str) -> Markup:
    """Return running text in which what stands between backticks is code."""
    parts = printable_lines(_cut(text, _LONGEST)).split("`")
    if len(parts) % 2 == 0:  # one of them has no partner
        return Markup.escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(parts)
    )


def name(text: str) -> Markup:
    """Return a name that may be broken where people would break it."""
    escaped = Markup.escape(printable_lines(_cut(text, _LONGEST_NAME)))
    for mark in _BREAKS:
        escaped = escaped.replace(mark, Markup(f"{mark}<wbr>"))
    return escaped


def number(value: float | None) -> str:
    """Return a number with three digits, and of what is not known nothing."""
    if value is None:
        return ""
    return f"{value:.3g}" if isfinite(value) else str(value)


def count(value: int | None) -> str:
    """Return a whole number with commas, and of what is not known a question mark."""
    return "?" if value is None else f"{value:,}"


def percent(value: float) -> str:
    """Return a share with one decimal; only what is exactly so reads 0 or 100."""
    if value in (0, 100):
        return f"{value:.0f} %"
    if 0 < value < 0.05:
        return "<0.1 %"
    if 99.95 <= value < 100:
        return ">99.9 %"
    return f"{value:.1f} %"


def _shown(value: Any) -> Any:
    """Return what is written for an expression: text out of files with its controls spelled out.

    Jinja escapes it afterwards, unless it is markup that this package made.
    """
    return value if isinstance(value, Markup) else printable_lines(_cut(str(value), _LONGEST))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} …"


_ENVIRONMENT = Environment(
    loader=PackageLoader(__name__.rpartition(".")[0]),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "blocks": blocks,
    "count": count,
    "counted": counted,
    "inline": inline,
    "name": name,
    "number": number,
    "percent": percent,
}
_ENVIRONMENT.globals |= {"version": __version__}
