"""Reports for the formats to write: of files that are sound, broken, hostile, and none at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch as th

from sacdoctor import Finding, Report, Severity, scan
from sacdoctor.diagnosis import report_of_error
from sacdoctor.errors import SacdoctorError
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import Judge, ScanResult
from tests.archives import write_sb3

HOSTILE = "a|b`<img src=x>](http://e.x)\n::error::@me #1 {0} ]]>&\x1b[31m\u202e.bias"
"""A tensor's name with what is markup, a command or a control character somewhere."""


def hostile(folder: Path) -> Path:
    """A checkpoint whose file and tensor are called what no format may obey."""
    return write_sb3(folder / "ho|st`<b>,:%.zip", {HOSTILE: th.tensor([th.nan])})


def unreadable(folder: Path) -> Report:
    return report_of_error(SacdoctorError("it is a folder", folder / "x"))


def shown(format: str, *reports: Report, judge: Judge | None = None) -> str:
    out = io.StringIO()
    result = ScanResult(reports, all_tensors=False, judge=judge or Judge())
    FORMATS[format].write(result, out)
    return out.getvalue()


def fails(*severities: Severity) -> Callable[[Finding], bool]:
    return lambda finding: finding.severity in severities


def all_kinds(healthy: Path, broken: Path, folder: Path) -> tuple[Report, ...]:
    return scan(healthy), scan(broken), scan(hostile(folder)), unreadable(folder)
