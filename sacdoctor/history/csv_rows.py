"""Rows of CSV logs, whatever became of the file: a run may be writing it, or have died over it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from sacdoctor.errors import SacdoctorError


def rows(path: Path) -> Iterator[list[str]]:
    """Yield the cells of each line, comments (`#`) and empty lines left out.

    Each line is taken by itself, so that a lost quotation mark costs one row and not the rest. A
    line that is no CSV is a row without cells. Raises `SacdoctorError` where the file cannot be
    opened.
    """
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for line in file:
                text = line.replace("\0", "").strip()
                if text and not text.startswith("#"):
                    yield _cells(text)
    except OSError as error:
        raise SacdoctorError(error.strerror or str(error), path) from None


def _cells(text: str) -> list[str]:
    try:
        return next(csv.reader([text]))
    except csv.Error:
        return []
