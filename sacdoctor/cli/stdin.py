"""A checkpoint that comes through a pipe: kept in a file of its own while it is scanned."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory

from sacdoctor.diagnosis import report_of_error, scan
from sacdoctor.diagnosis.rules import normalisation_mismatch, normalisation_missing
from sacdoctor.errors import SacdoctorError
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions

_BESIDE = (normalisation_missing.RULE.code, normalisation_mismatch.RULE.code)
"""Rules about what lies beside a file: beside a pipe there is nothing, which says nothing."""


def report_on_stdin(options: ScanOptions) -> Report:
    """Return the report of what standard input holds, of status `error` where it cannot be read."""
    options = replace(options, ignore=(*options.ignore, *_BESIDE))
    try:
        with TemporaryDirectory(prefix="sacdoctor-") as folder:
            path = Path(folder) / "stdin"
            with path.open("wb") as file:
                copyfileobj(sys.stdin.buffer, file, 1 << 20)
            return replace(_report(path, options), path="-")
    except OSError as error:  # a full disk
        reason = error.strerror or str(error)
        return report_of_error(SacdoctorError(f"it cannot be kept: {reason}", "-"))


def _report(path: Path, options: ScanOptions) -> Report:
    try:
        return scan(path, options)
    except SacdoctorError as error:
        return report_of_error(error.at(path), options)
