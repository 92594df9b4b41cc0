"""A run's folder in, its history out."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sacdoctor.checkpoint import ForeignCheckpoint, checkpoints_below, foreign_folder
from sacdoctor.diagnosis import report_of_error
from sacdoctor.errors import ChangedFile, SacdoctorError
from sacdoctor.files import files_below, refuse_other_than_folder
from sacdoctor.history.evaluations import NAME as EVALUATIONS
from sacdoctor.history.evaluations import read_evaluations
from sacdoctor.history.lineage import Header, lineages, name_of, read_header
from sacdoctor.history.logged import logged
from sacdoctor.history.model import History, LogNote, Run
from sacdoctor.history.monitor import NAME as MONITOR
from sacdoctor.history.monitor import MonitorLog, read_monitors
from sacdoctor.history.rewards import (
    crashes,
    curves,
    log_name,
    low_ends,
    not_finite,
    too_short,
)
from sacdoctor.history.scalars import ScalarLog, read_scalars, scalar_files
from sacdoctor.history.series import read_run
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions

MOST_OPEN = 128
"""Checkpoints that stay open between telling the runs apart and looking at each; further ones are
opened twice. Systems let a process have 256 to 1,024 files open unless told otherwise."""
MOST_KEPT = 64 * 1024**2
"""Bytes of such files that are kept in memory; what is needed of further ones is read as needed."""


def logs_below(folder: Path) -> list[Path]:
    """Return the files of logs below a folder that `read_history` opens, by their names."""
    return [*files_below(folder, (MONITOR, EVALUATIONS)), *scalar_files(folder)]


def read_history(path: str | Path, options: ScanOptions | None = None) -> History:
    """Return what the checkpoints and logs below the folder `path` tell about a training.

    Raises `SacdoctorError` where it is no folder or holds neither checkpoints nor logs. What
    cannot be read is part of the result. Nothing in a file is executed.
    """
    with ExitStack() as files:
        return _history(path, options or ScanOptions(), files)


def _history(path: str | Path, options: ScanOptions, files: ExitStack) -> History:
    folder = Path(path)
    refuse_other_than_folder(folder, "it is no folder; scan looks at one checkpoint")
    room = MOST_KEPT
    headers: list[Header] = []
    unreadable: list[Report] = []
    for file in checkpoints_below(folder):
        try:
            header = read_header(file, keep_open=len(headers) < MOST_OPEN, whole=room)
        except SacdoctorError as error:
            unreadable.append(report_of_error(error, options))
            continue
        headers.append(header)
        if header.checkpoint is not None:
            files.callback(header.checkpoint.close)
            room -= header.checkpoint.in_memory
    runs: list[Run] = []
    for lineage in lineages(headers):
        name = _unique(name_of(lineage, folder), runs)
        while lineage:
            try:
                run, errors = read_run(name, lineage, options, folder)
            except ChangedFile as error:
                unreadable.append(report_of_error(error))
                lineage = _without(lineage, error)
                continue
            runs.append(run)
            unreadable += errors
            break
    monitors, trouble = read_monitors(folder)
    scalars, more_trouble = read_scalars(folder)
    evaluations, trouble_there = read_evaluations(folder)
    trouble = [*trouble, *more_trouble, *trouble_there]
    if not (headers or unreadable or monitors or scalars or evaluations or trouble):
        kind = foreign_folder(folder)
        if kind is not None:
            raise ForeignCheckpoint(kind).at(path)
        raise SacdoctorError("the folder holds no checkpoints (.zip) and no logs of SB3", path)
    notes = [LogNote(str(error.path), error.reason) for error in trouble]
    return History(
        path=str(path),
        runs=tuple(runs),
        unreadable=tuple(unreadable),
        crashes=tuple(crashes(monitors, scalars, evaluations, runs, folder)),
        curves=tuple(curves(monitors, scalars, evaluations, runs, folder)),
        notes=(
            *notes,
            *_skipped((*monitors, *scalars)),
            *not_finite(monitors, scalars, evaluations),
            *too_short(monitors, scalars, evaluations),
            *low_ends(monitors, scalars, evaluations),
        ),
        logged=logged(monitors, scalars, runs, folder, options),
        logs=tuple(
            log_name(path, folder)
            for path in (
                *(log.path for log in monitors),
                *(log.path for log in scalars),
                *(log.path for log in evaluations),
            )
        ),
    )


def _without(lineage: list[Header], changed: ChangedFile) -> list[Header]:
    """Return a lineage without a file that changed; its others are opened anew."""
    assert changed.path is not None
    left = [header for header in lineage if header.path != changed.path]
    assert len(left) < len(lineage)
    return [replace(header, checkpoint=None) for header in left]


def _unique(name: str, runs: Iterable[Run]) -> str:
    taken = {run.name for run in runs}
    names = (name if number == 1 else f"{name} ({number})" for number in range(1, len(taken) + 2))
    return next(candidate for candidate in names if candidate not in taken)


def _skipped(logs: Iterable[MonitorLog | ScalarLog]) -> list[LogNote]:
    return [
        LogNote(
            str(log.path),
            f"{log.skipped:,} {'row is' if log.skipped == 1 else 'rows are'} cut off or garbled "
            "and left out",
        )
        for log in logs
        if log.skipped
    ]
