"""Workflow commands that GitHub shows as annotations, the worst first: of one step it shows ten.

Source: docs.github.com, "Workflow commands for GitHub Actions"; what stands for which character:
`escapeData` and `escapeProperty` in actions/toolkit, packages/core/src/command.ts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import CheckupResult, ScanResult, WarmupResult
from sacdoctor.severity import Severity

if TYPE_CHECKING:
    from sacdoctor.report.looked_at import Looked

_LEVELS = {Severity.CRITICAL: "error", Severity.WARNING: "warning", Severity.NOTICE: "notice"}


def _write(result: ScanResult | CheckupResult | WarmupResult, file: TextIO) -> None:
    """Write a line for each finding that no baseline has, and how many files there are."""
    from sacdoctor.report.looked_at import looked_at
    from sacdoctor.report.text import counted

    files = list(looked_at(result))
    lines = [line for looked in files for line in _lines(looked)]
    lines.sort(key=lambda line: [*_LEVELS.values()].index(line[0]))
    file.writelines(f"::{level} {place}::{text}\n" for level, place, text in lines)
    statuses = Counter(looked.status for looked in files)
    shares = ", ".join(f"{number} {status}" for status, number in statuses.most_common())
    file.write(f"sacdoctor: {counted(len(files), 'file')}: {shares}\n")


def _scan(result: ScanResult, file: TextIO) -> None:
    _write(result, file)


def _checkup(result: CheckupResult, file: TextIO) -> None:
    _write(result, file)


def _warmup(result: WarmupResult, file: TextIO) -> None:
    _write(result, file)


def _lines(looked: Looked) -> Iterator[tuple[str, str, str]]:
    """Yield of each annotation the level, where it is shown under which title, and its text."""
    from sacdoctor.report.looked_at import from_here

    place = _property(from_here(looked.path))
    for told in looked.told:
        if not told.is_known:
            title = _property(told.title)
            yield _LEVELS[told.severity], f"file={place},title={title}", _data(told.text)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMAT = Format(
    "github",
    "annotations for GitHub",
    {ScanResult: _scan, CheckupResult: _checkup, WarmupResult: _warmup},
)
