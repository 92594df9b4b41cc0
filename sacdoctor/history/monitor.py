"""SB3's Monitor logs: the return and length of every episode."""

from __future__ import annotations

import re
from itertools import islice
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.errors import SacdoctorError
from sacdoctor.files import files_below
from sacdoctor.history.csv_rows import rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "monitor.csv"
_MADE = re.compile(r'"t_start": *(\d+(?:\.\d+)?)')
_OF_ENVIRONMENT = re.compile(r"\d+\.monitor\.csv", re.IGNORECASE)
_ENDLESS = 2**31
"""Steps that no episode has; as many rows of them as a file holds can still be added up."""


class MonitorLog(Struct, frozen=True, eq=False):
    """Episodes in the order of time: `timesteps` at each one's end and `returns`, shape (n,).

    `numbers` are those of the episodes: the first of the log is 0. Episodes whose return is not
    finite are left out, and numbered in `non_finite`. `path` is the file, or the folder where
    several environments wrote one each; the first of these where the folder holds others, too.
    `skipped` counts rows that are no episode: cut off or garbled.
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
    training (`make_vec_env(monitor_dir=…)`) if they were made together; any other file is a log of
    its own.
    """
    groups: list[tuple[Path, list[Path]]] = []
    numbered: dict[Path, list[Path]] = {}
    for path in files_below(folder, NAME):
        if _OF_ENVIRONMENT.fullmatch(path.name):
            numbered.setdefault(path.parent, []).append(path)
        else:
            groups.append((path, [path]))
    for parent, paths in numbered.items():
        trainings = _made_together(paths)
        is_whole = len(trainings) == 1 and len(paths) > 1
        groups += [(parent if is_whole else files[0], files) for files in trainings]
    logs: list[MonitorLog] = []
    errors: list[SacdoctorError] = []
    for path, files in sorted(groups):
        try:
            logs.append(_log(path, files))
        except SacdoctorError as error:
            errors.append(error)
    return logs, errors


def _made_together(paths: list[Path]) -> list[list[Path]]:
    """Return the logs of each vectorised environment: its parts are all made before any is played.

    A part that was made when an episode of another had ended already is of another training: that
    of the next seed, or of the next run, which had fewer environments and left some files behind.
    """
    groups: list[list[Path]] = []
    played = -inf
    for made, over, path in sorted((*_first_episode(path), path) for path in paths):
        if made > played or not groups:
            groups.append([])
            played = inf
        groups[-1].append(path)
        played = min(played, over)
    return [sorted(group, key=paths.index) for group in groups]


def _first_episode(path: Path) -> tuple[float, float]:
    """Return when Monitor was made and when its first episode was over, in seconds.

    They are -inf and inf where the log does not say, so that it belongs to any other.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            header = _MADE.search(file.readline())
        made = -inf if header is None else float(header[1])
        columns, *first = islice(rows(path), 2)
        return made, made + float(first[0][columns.index("t")]) if header and first else inf
    except (OSError, SacdoctorError, ValueError, IndexError):
        return -inf, inf


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
    return (value, length) if 0 < length < _ENDLESS else None
