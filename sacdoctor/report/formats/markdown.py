"""Markdown for a comment on a pull request, or the summary of a job.

Names come from files that nobody vouches for: no character of theirs is markup, and nobody is
mentioned. GitHub takes comments of up to 65,536 characters.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import CheckupResult, ScanResult, WarmupResult
from sacdoctor.severity import Severity, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sacdoctor.report.looked_at import Looked, Told

_MOST_CHARACTERS = 60_000
_MOST_FILES = 100
_MARKUP = re.compile(r"([\\`*_\[\]|~#])")
_LINKS = re.compile("([@#]|:(?=//)|www(?=[.]))", re.IGNORECASE)
_AT_START = re.compile(r"^(\d*)([-+=>.)])")
"""What would begin a list, a quotation or a heading."""
_COLOURS = {
    Severity.CRITICAL: "🔴",
    Severity.WARNING: "🟡",
    Severity.NOTICE: "🔵",
    Severity.OK: "🟢",
}


def _write(result: ScanResult | CheckupResult | WarmupResult, file: TextIO) -> None:
    from sacdoctor.report.looked_at import looked_at

    order = [*Status]
    files = sorted(looked_at(result), key=lambda looked: -order.index(looked.status))
    pieces = _pieces(files)
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > _MOST_CHARACTERS:
            file.write("More was found than a comment holds; `--format json` has all.\n")
            return
        file.write(piece)


def _scan(result: ScanResult, file: TextIO) -> None:
    _write(result, file)


def _checkup(result: CheckupResult, file: TextIO) -> None:
    _write(result, file)


def _warmup(result: WarmupResult, file: TextIO) -> None:
    _write(result, file)


def _pieces(files: Sequence[Looked]) -> Iterator[str]:
    """Yield a heading, a table of the files, and the findings of each, folded up."""
    counts = Counter(looked.status for looked in files)
    shares = ", ".join(f"{number:,} {status}" for status, number in counts.items())
    yield f"### sacdoctor: {shares or 'nothing was looked at'}\n\n"
    if not files:
        return
    yield "| status | file | |\n| --- | --- | --- |\n"
    for looked in files[:_MOST_FILES]:
        words = _escaped(looked.words)
        yield f"| {_badge(looked.status)} | {_code(looked.path)} | {words} |\n"
    if len(files) > _MOST_FILES:
        yield f"| | {len(files) - _MOST_FILES:,} more | |\n"
    for looked in files:
        if looked.told:
            yield from _details(looked, looked.told)


def _details(looked: Looked, told: Sequence[Told]) -> Iterator[str]:
    from html import escape  # every entity of HTML comes with it

    number = f"{len(told)} finding{'s' if len(told) > 1 else ''}"
    yield f"\n<details><summary><code>{escape(looked.path)}</code>: {number}</summary>\n\n"
    for one in told:
        known = ", known" if one.is_known else ""
        mark = _COLOURS[one.severity]
        yield f"**{mark} {one.finding.rule} {one.finding.name}** ({one.severity}{known})\n\n"
        yield f"{_prose(one.message)}\n\n"
        if one.evidence:
            yield "".join(f"> {_prose(line)}  \n" for line in one.evidence.split("\n")) + "\n"
        yield from _paragraphs(f"Do: {one.remedy}".split("\n"))
    yield "</details>\n"


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Yield running text, and what begins with four spaces as code."""
    code: list[str] = []
    for line in lines:
        if line.startswith("    "):
            code.append(line[4:])
            continue
        yield from _fenced(code)
        code = []
        yield f"{_prose(line)}\n\n"
    yield from _fenced(code)


def _fenced(code: Sequence[str]) -> Iterator[str]:
    if code:
        text = "\n".join(code)
        longest = max(map(len, re.findall("`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        yield f"{fence}\n{text}\n{fence}\n\n"


def _badge(status: Status) -> str:
    level = {Status.ERROR: Severity.CRITICAL, Status.UNKNOWN: Severity.NOTICE}.get(status)
    if level is None:
        level = Severity.OK if status is Status.HEALTHY else Severity(status.value)
    return f"{_COLOURS[level]} {status}"


def _prose(text: str) -> str:
    """Return text in which what stands between backticks is code, and all else is no markup."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # one has no partner
        pieces = [text.replace("`", "'")]
    prose = "".join(_code(p) if n % 2 else _escaped(p) for n, p in enumerate(pieces))
    return _AT_START.sub(r"\1\\\2", prose)


def _code(text: str) -> str:
    """Return text as code, in the cell of a table, too, which a bar would end."""
    if not text or {"`", "|"} & {*text} or text != text.strip():
        return f"<code>{_escaped(text)}</code>" if text else ""
    return f"`{text}`"


def _escaped(text: str) -> str:
    """Return text no character of which is markup, nor part of a link, a mention or a number.

    GitHub looks for `@name` and `#1` in what is shown: a comment that nobody sees parts them.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    text = _MARKUP.sub(r"\\\1", text)
    return _LINKS.sub(r"\1<!-- -->", text)


FORMAT = Format(
    "markdown",
    "Markdown for a pull request",
    {ScanResult: _scan, CheckupResult: _checkup, WarmupResult: _warmup},
)
