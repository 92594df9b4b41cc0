"""SB3's Monitor logs: the return and length of every episode."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sacdoctor.errors import SacdoctorError
from sacdoctor.files import files_below
from sacdoctor.history.csv_rows import rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "monitor.csv"
_OF_ENVIRONMENT = re.compile(r"\d+\.monitor\.csv", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class MonitorLog:
    """Episodes in the order of time: `timesteps` at each one's end and `returns`, shape (n,).

    `numbers` are those of the episodes: the first of the log is 0. Episodes whose return is not
    finite are left out, and numbered in `non_finite`. `path` is the file, or the folder where
    several environments wrote one each. `skipped` counts rows that are no episode: cut off or
    garbled.
    """

    path: Path
    timesteps: NDArray[Any]
    returns: NDArray[Any]
    skipped: int
    numbers: NDArray[Any]
    non_finite: NDArray[Any]


def read_monitors(folder: Path) -> tuple[list[MonitorLog], list[SacdoctorError]]:
    """Return the Monitor logs below a folder, and what is wrong with those that are unreadable.

    `0.monitor.csv`, `1.monitor.csv`, … of one folder are the environments of one vectorised
    training (`make_vec_env(monitor_dir=…)`); any other file is a log of its own.
    """
    groups: dict[Path, list[Path]] = {}
    for path in files_below(folder, NAME):
        groups.setdefault(path.parent if _OF_ENVIRONMENT.fullmatch(path.name) else path, []).append(
            path
        )
    logs: list[MonitorLog] = []
    errors: list[SacdoctorError] = []
    for path, files in groups.items():
        try:
            logs.append(_log(files[0] if len(files) == 1 else path, files))
        except SacdoctorError as error:
            errors.append(error)
    return logs, errors


def _log(path: Path, files: list[Path]) -> MonitorLog:
    tables = [_episodes(file) for file in files]
    # Vectorised environments step together: when one has made n steps, all have.
    timesteps = np.concatenate([len(files) * np.cumsum(lengths) for _, lengths, _ in tables])
    returns = np.concatenate([returns for returns, _, _ in tables])
    order = np.argsort(timesteps, kind="stable")
    timesteps, returns = timesteps[order], returns[order]
    is_finite = np.isfinite(returns)
    return MonitorLog(
        path,
        timesteps[is_finite],
        returns[is_finite],
        sum(skipped for _, _, skipped in tables),
        np.flatnonzero(is_finite),
        np.flatnonzero(~is_finite),
    )


def _episodes(path: Path) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Return the returns and lengths in one file, and how many rows were skipped."""
    returns: list[float] = []
    lengths: list[int] = []
    skipped = 0
    columns: list[str] = []
    for row in rows(path):
        if {"r", "l"} <= set(row):
            columns = row  # again where a resumed run wrote it again
            continue
        episode = _episode(columns, row)
        if episode is None:
            skipped += 1
        else:
            returns.append(episode[0])
            lengths.append(episode[1])
    if not columns and skipped:
        raise SacdoctorError("it has no columns r and l: not a log of SB3's Monitor", path)
    return np.array(returns, np.float64), np.array(lengths, np.int64), skipped


def _episode(columns: list[str], row: list[str]) -> tuple[float, int] | None:
    if not columns or len(row) != len(columns):
        return None
    values = dict(zip(columns, row, strict=True))
    try:
        value, length = float(values["r"]), int(values["l"])
    except ValueError:
        return None
    return (value, length) if length > 0 else None
