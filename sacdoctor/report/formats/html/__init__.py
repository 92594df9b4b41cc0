"""A page for the browser: one file that loads nothing, runs nothing, and prints.

Each kind of result has a module of its own, which is imported when it is written: Jinja and
matplotlib come with the extra `html`, and take longer to load than a scan.
"""

from __future__ import annotations

from typing import Any, TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import (
    CheckupResult,
    DiffResult,
    HistoryResult,
    ProbeResult,
    ScanResult,
)


def _scan(result: ScanResult, file: TextIO) -> None:
    _page("scan")(result, file)


def _diff(result: DiffResult, file: TextIO) -> None:
    _page("diff")(result, file)


def _history(result: HistoryResult, file: TextIO) -> None:
    _page("history")(result, file)


def _checkup(result: CheckupResult, file: TextIO) -> None:
    _page("checkup")(result, file)


def _probe(result: ProbeResult, file: TextIO) -> None:
    _page("probe")(result, file)


def _page(kind: str) -> Any:
    """Return what writes a kind of result; raises `SacdoctorError` where the extra is missing."""
    from sacdoctor.errors import SacdoctorError
    from sacdoctor.extras import imported

    try:
        return imported(f"{__name__}.{kind}", "write", "--format html")
    except ImportError as error:
        raise SacdoctorError(str(error)) from None


FORMAT = Format(
    "html",
    "a page for the browser",
    {
        ScanResult: _scan,
        DiffResult: _diff,
        HistoryResult: _history,
        CheckupResult: _checkup,
        ProbeResult: _probe,
    },
)
