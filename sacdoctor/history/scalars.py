"""What SB3's logger wrote: `progress.csv` and TensorBoard event files, as series of scalars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.diagnosis import COEFFICIENT, LoggedRow
from sacdoctor.errors import SacdoctorError
from sacdoctor.files import files_below
from sacdoctor.history.csv_rows import rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRESS = "progress.csv"
EVENTS = "events.out.tfevents."
TIMESTEPS = "time/total_timesteps"
REWARD = "rollout/ep_rew_mean"
EPISODE_LENGTH = "rollout/ep_len_mean"
LEARNING_RATE = "train/learning_rate"
UPDATES = "train/n_updates"
EXPLORATION = "rollout/exploration_rate"
VALUES = (
    COEFFICIENT,
    "train/entropy_loss",
    "train/actor_loss",
    "train/critic_loss",
    "train/value_loss",
    "train/policy_gradient_loss",
    "train/loss",
    LEARNING_RATE,
)
"""What is told about the time of a crash. `train/actor_loss` is the negative Q-value (SAC: less
the entropy's part)."""
_WANTED = frozenset((REWARD, EPISODE_LENGTH, UPDATES, EXPLORATION, "train/approx_kl", *VALUES))
_ENDLESS = 2**53
"""Timesteps from which on a float does not tell one from the next."""


class Series(Struct, frozen=True, eq=False):
    """A logged value over time: `timesteps` and `values`, shape (n,), in the order of time."""

    timesteps: NDArray[Any]
    values: NDArray[Any]

    @property
    def finite(self) -> Series:
        """The series without NaN and infinities."""
        is_finite = np.isfinite(self.values)
        return Series(self.timesteps[is_finite], self.values[is_finite])

    def at(self, timesteps: int) -> float | None:
        """Return the last value logged until then, None where there is none."""
        index = int(np.searchsorted(self.timesteps, timesteps, side="right"))
        return float(self.values[index - 1]) if index else None


class ScalarLog(Struct, frozen=True):
    """The wanted series of one log by SB3's names; `skipped` counts rows that are none.

    `rows` are in the order in which they were written, which event files do not keep.
    """

    path: Path
    series: dict[str, Series]
    skipped: int
    rows: tuple[LoggedRow, ...] = ()


class TensorBoardMissing(SacdoctorError):
    """There are event files, and the package that reads them is not installed."""


def scalar_files(folder: Path) -> list[Path]:
    """Return the files below a folder that `read_scalars` opens, by their names."""
    tables, events = _logs_below(folder)
    return [*tables, *(path for files in events.values() for path in files)]


def _logs_below(folder: Path) -> tuple[list[Path], dict[Path, list[Path]]]:
    """Return each `progress.csv`, and the event files in other folders, by folder, in order."""
    tables = [path for path in files_below(folder, PROGRESS) if path.name == PROGRESS]
    told = {table.parent for table in tables}
    events: dict[Path, list[Path]] = {}
    for path in files_below(folder, ""):
        if path.name.startswith(EVENTS) and path.parent not in told:
            events.setdefault(path.parent, []).append(path)
    return tables, dict(sorted(events.items()))


def read_scalars(folder: Path) -> tuple[list[ScalarLog], list[SacdoctorError]]:
    """Return the logs below a folder, and what is wrong with those that cannot be read.

    Event files beside a `progress.csv` hold the same values and are left alone.
    """
    logs: list[ScalarLog] = []
    errors: list[SacdoctorError] = []
    tables, events = _logs_below(folder)
    for path in (*tables, *events):
        try:
            logs.append(_progress(path) if path.name == PROGRESS else _event_files(path))
        except SacdoctorError as error:
            errors.append(error)
    return [log for log in logs if log.series or log.skipped], errors


def _progress(path: Path) -> ScalarLog:
    points: dict[str, list[tuple[int, float]]] = {}
    skipped = 0
    columns: list[str] = []
    written: list[LoggedRow] = []
    for row in rows(path):
        if not columns:
            columns = row
            if TIMESTEPS not in columns:
                raise SacdoctorError(f"it has no column {TIMESTEPS}: not a log of SB3", path)
            continue
        values = _row(columns, row)
        if values is None:
            skipped += 1
            continue
        for name in _WANTED & values.keys():
            points.setdefault(name, []).append((int(values[TIMESTEPS]), values[name]))
        step = int(values[TIMESTEPS])
        written.append(LoggedRow(step, values.get(UPDATES), values.get(EXPLORATION)))
    series = {name: _series(found) for name, found in points.items()}
    return ScalarLog(path, series, skipped, tuple(written))


def _row(columns: list[str], row: list[str]) -> dict[str, float] | None:
    """Return the numbers of a row; None where it is cut off or the wanted cells are no numbers."""
    if len(row) != len(columns):
        return None
    cells = {name: cell for name, cell in zip(columns, row, strict=True) if cell.strip()}
    try:
        values = {n: float(cells[n]) for n in cells if n in _WANTED or n == TIMESTEPS}
    except (KeyError, ValueError):
        return None
    return values if abs(values[TIMESTEPS]) < _ENDLESS else None  # neither is NaN


def _event_files(folder: Path) -> ScalarLog:
    """Return what the event files of a folder hold; needs the `tensorboard` package."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise TensorBoardMissing(
            "TensorBoard logs are not read without the tensorboard package: "
            "python -m pip install tensorboard",
            folder,
        ) from None
    import logging

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of what is cut off
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    series = {
        name: _series([(event.step, event.value) for event in accumulator.Scalars(name)])
        for name in accumulator.Tags()["scalars"]
        if name in _WANTED
    }
    if not series:
        raise SacdoctorError("its event files hold nothing that SB3 logs", folder)
    return ScalarLog(folder, series, 0)


def _series(points: list[tuple[int, float]]) -> Series:
    timesteps = np.array([step for step, _ in points], np.int64)
    order = np.argsort(timesteps, kind="stable")
    return Series(timesteps[order], np.array([value for _, value in points], np.float64)[order])
