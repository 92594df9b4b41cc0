"""A folder followed while a training writes into it: each checkpoint once it is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.diagnosis import report_of_error, scan
from sacdoctor.errors import SacdoctorError
from sacdoctor.files import files_below, refuse_other_than_folder
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions

PATIENCE = 30.0
"""Seconds that a file may rest unreadable before it is called broken: a writer may be slow."""

_Stamp = tuple[int, int]


class _Candidate(Struct):
    """A file that is not settled yet: its size and time of change, and since when they hold."""

    stamp: _Stamp
    since: float


def landings(
    folder: Path, options: ScanOptions, interval: float, patience: float = PATIENCE
) -> Iterator[Report]:
    """Yield a report on each `.zip` below `folder` once it is complete, for ever.

    Those that are there already come first, the oldest before the newer. The folder is looked at
    every `interval` seconds. A file is complete when its size and time of change stayed the same
    from one look to the next and it can be read; one that cannot is tried again, and reported
    with status `error` after resting unreadable for `patience` seconds. A file that is written
    again is reported again. Raises `SacdoctorError` where the folder is none, or is gone.
    """
    settled: dict[Path, _Stamp] = {}
    candidates: dict[Path, _Candidate] = {}
    refuse_other_than_folder(folder, "it is no folder; scan looks at one checkpoint")
    while os.path.isdir(folder):
        now = time.monotonic()
        for stamp, path in _by_age(folder):
            if settled.get(path) == stamp:
                continue
            candidate = candidates.get(path)
            if candidate is None or candidate.stamp != stamp:
                candidates[path] = candidate = _Candidate(stamp, now)
                if not _is_old(stamp, interval):
                    continue
            report = _report(path, stamp, options)
            if report is None or (report.error is not None and now - candidate.since < patience):
                continue
            settled[path] = stamp
            del candidates[path]
            yield report
        time.sleep(interval)
    raise SacdoctorError("the folder is gone", folder)


def _is_old(stamp: _Stamp, interval: float) -> bool:
    """Return whether a file rested so long before it was first seen that it need not again."""
    return time.time() - stamp[1] / 1e9 > interval


def _report(path: Path, stamp: _Stamp, options: ScanOptions) -> Report | None:
    """Return the report on a copy of the file; None where the file changed in the meantime.

    Of the copy alone: a training writes what belongs to a checkpoint, such as its statistics,
    beside it a moment later.
    """
    with tempfile.TemporaryDirectory(prefix="sacdoctor-") as folder:
        copy = Path(folder, "model.zip")
        try:
            shutil.copyfile(path, copy)
        except FileNotFoundError:
            return None
        except OSError as error:
            return report_of_error(SacdoctorError(error.strerror or str(error), path))
        if _stamp(path) != stamp:
            return None
        try:
            return replace(scan(copy, options), path=str(path))
        except SacdoctorError as error:
            return replace(report_of_error(error, options), path=str(path))


def _by_age(folder: Path) -> list[tuple[_Stamp, Path]]:
    stamped = [(_stamp(path), path) for path in files_below(folder, ".zip")]
    found = [(stamp, path) for stamp, path in stamped if stamp is not None]
    return sorted(found, key=lambda item: (item[0][1], item[1]))


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
