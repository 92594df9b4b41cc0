"""A checkpoint that comes through a pipe: kept in a file of its own while it is scanned."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory

from sacdoctor.diagnosis import report_of_error
from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet import report_on_copy
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions


def report_on_stdin(options: ScanOptions) -> Report:
    """Return the report of what standard input holds, of status `error` where it cannot be read."""
    try:
        with TemporaryDirectory(prefix="sacdoctor-") as folder:
            path = Path(folder) / "stdin"
            with path.open("wb") as file:
                copyfileobj(sys.stdin.buffer, file, 1 << 20)
            return report_on_copy(path, "-", options)
    except OSError as error:  # a full disk
        reason = error.strerror or str(error)
        return report_of_error(SacdoctorError(f"it cannot be kept: {reason}", "-"))
