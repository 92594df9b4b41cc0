"""Statistics of `VecNormalize`: which lie beside a checkpoint, and what they make of observations.

Source: stable_baselines3/common/vec_env/vec_normalize.py and running_mean_std.py. Nothing in a
pickle is executed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sacdoctor.errors import SacdoctorError, UnsupportedCheckpoint
from sacdoctor.files import fetched, map_file, refuse_changed, stamp_of
from sacdoctor.pickles import (
    ENCODED_BYTES,
    NUMPY_ARRAYS,
    Made,
    OpaqueNames,
    PickledArray,
    WalkBudget,
    attributes,
    class_of,
    is_pickle,
    read_pickle,
)

_STEPS = re.compile(r"(.*)_(\d+)_steps")
"""`CheckpointCallback(save_vecnormalize=True)` writes PREFIX_vecnormalize_N_steps.pkl beside
PREFIX_N_steps.zip."""
_LAST = "vecnormalize.pkl"
"""rl-zoo's, in a folder that is called as the environment, beside the checkpoint of that name."""
_ENDINGS = (".pkl", ".pickle")
_MARK = b"vec_normalize"
"""The module of the class, which stands in every pickle of one."""
_HEAD = 4096
_MOST_BYTES = 64 * 1024**2
"""Mean and variance, in double precision, of a stack of four colour images take 4 MB."""
_MOST_FILES = 256
"""Pickles of one folder that are looked into."""
_TICK = 100_000_000
"""Nanoseconds within which a folder may change again and have the same time of change."""


class Moments(Struct, frozen=True):
    """Mean and variance of observations, shape of one observation, over `count` of them."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    count: float


class Statistics(Struct, frozen=True):
    """What a `VecNormalize` makes of observations.

    `moments` are those of each entry of Dict observations, of others under the empty text; empty
    where observations are passed on as they are (`norm_obs=False`). `reward_deviation` is what
    rewards are divided by before they are cut at `reward_clip`, None where they are passed on, too,
    and NaN where that cannot be told.
    """

    path: Path
    moments: Mapping[str, Moments]
    clip: float
    epsilon: float
    reward_deviation: float | None
    reward_clip: float

    @property
    def count(self) -> float:
        """How many observations they were gathered from; 1e-4 before the first."""
        return max((moments.count for moments in self.moments.values()), default=0.0)

    def scaled(self, key: str, observations: NDArray[Any]) -> NDArray[np.float64]:
        """Return observations in standard deviations from the mean, not clipped yet."""
        moments = self.moments[key]
        deviation = np.sqrt(moments.var + self.epsilon)
        return np.asarray((observations - moments.mean) / deviation, np.float64)

    def original(self, key: str, normalised: NDArray[Any]) -> NDArray[np.float64]:
        """Return what observations were before, where they were not clipped."""
        moments = self.moments[key]
        deviation = np.sqrt(moments.var + self.epsilon)
        return np.asarray(normalised * deviation + moments.mean, np.float64)


def read_statistics(path: Path) -> Statistics:
    """Return the statistics in a pickle that `VecNormalize.save` wrote.

    Raises `SacdoctorError` where it cannot be read, or holds something else.
    """
    try:
        file = map_file(path)
        if len(file) > _MOST_BYTES:
            raise UnsupportedCheckpoint("it is larger than any statistics are")
        data = fetched(file)
        refuse_changed(file)
        names = OpaqueNames({**NUMPY_ARRAYS, **ENCODED_BYTES})
        made = read_pickle(data, names, WalkBudget())
        if not isinstance(made, Made) or not (class_of(made) or "").endswith(".VecNormalize"):
            raise UnsupportedCheckpoint("it is no VecNormalize")
        held = attributes(made)
        return Statistics(
            path,
            dict(_moments(held)) if held.get("norm_obs", True) is True else {},
            _number(held.get("clip_obs")),
            epsilon := _number(held.get("epsilon")),
            _deviation(held.get("ret_rms"), epsilon) if held.get("norm_reward", True) else None,
            _number(held.get("clip_reward", np.inf)),
        )
    except SacdoctorError as error:
        raise error.at(path) from None


def _moments(held: Mapping[str, Any]) -> Iterator[tuple[str, Moments]]:
    kept = held.get("obs_rms")
    if not isinstance(kept, dict):
        kept = {"": kept}
    keys = held.get("norm_obs_keys")
    for key, made in kept.items():
        if isinstance(made, Made) and (not isinstance(keys, list) or not key or key in keys):
            values = attributes(made)
            mean, var = _array(values.get("mean")), _array(values.get("var"))
            if mean.shape != var.shape:
                raise UnsupportedCheckpoint("its mean and its variance are of different shapes")
            yield str(key), Moments(mean, var, _number(values.get("count")))


def _deviation(kept: Any, epsilon: float) -> float:
    var = attributes(kept).get("var") if isinstance(kept, Made) else None
    if isinstance(var, PickledArray) and var.view().size == 1:
        var = var.view().item()
    return float(np.sqrt(var + epsilon)) if isinstance(var, float) else float("nan")


def _array(value: Any) -> NDArray[np.float64]:
    if not isinstance(value, PickledArray):
        raise UnsupportedCheckpoint("its statistics are no arrays")
    return value.view().astype(np.float64)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnsupportedCheckpoint("its settings are no numbers")
    return float(value)


class Beside(NamedTuple):
    """The pickles of `VecNormalize` beside a checkpoint: `own` is that of the same name or moment.

    `others` may belong to other checkpoints. `is_named`: the name says that `own` belongs to it.
    """

    own: Path | None
    others: tuple[Path, ...]
    is_named: bool


def may_be_statistics(path: Path, size: int | None) -> bool:
    """Return whether a file of this name is looked into, with `size` bytes (None: not known)."""
    return path.name.lower().endswith(_ENDINGS) and (size or 0) <= _MOST_BYTES


def names_of_statistics(checkpoint: Path) -> tuple[str, ...]:
    """Return the names that a checkpoint's own statistics have, seen from its folder."""
    stem = checkpoint.name.removesuffix(".zip")
    steps = _STEPS.fullmatch(stem)
    if steps:
        return (f"{steps[1]}_vecnormalize_{steps[2]}_steps.pkl",)
    return f"{stem}/{_LAST}", f"{stem}_{_LAST}", f"{stem}.pkl"


def statistics_beside(checkpoint: Path, run: Path | None = None) -> Beside:
    """Return the statistics beside a checkpoint, by the names of SB3 and rl-zoo, else by content.

    They are looked for in its folder, in the folders directly below that and above it, and of a
    `run` in its folder and directly below. One alone in the folder counts as the checkpoint's own.
    """
    folder = checkpoint.parent
    names = names_of_statistics(checkpoint)
    named = next((folder / n for n in names if _is_statistics(folder / n)), None)
    if named is not None:
        return Beside(named, (), True)
    near = [path for path in _pickles(folder) if _is_statistics(path)]
    if len(near) == 1 and not _STEPS.fullmatch(near[0].stem):
        return Beside(near[0], (), False)
    places = [folder.parent, *_folders(folder), *((run, *_folders(run)) if run else ())]
    far = [path for place in places for path in _pickles(place) if _is_statistics(path)]
    return Beside(None, (*near, *far), False)


def _pickles(folder: Path) -> tuple[Path, ...]:
    return _listed(folder)[0]


def _folders(folder: Path) -> tuple[Path, ...]:
    return _listed(folder)[1]


def _listed(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the pickles in a folder and the folders, each in order and not without end."""
    stamp = stamp_of(folder)
    if stamp is None:
        return (), ()
    changed = time.time_ns() - stamp[-1]
    # One that may change again within the same moment is listed anew.
    return (_entries if changed > _TICK else _entries.__wrapped__)(folder, stamp)


@lru_cache(maxsize=64)
def _entries(folder: Path, stamp: tuple[int, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """List a folder once, as long as its `stamp` is the same: beside a file are thousands."""
    pickles: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(_ENDINGS):
                    pickles.append(entry.name)
                if entry.is_dir():
                    folders.append(entry.name)
    except OSError:
        return (), ()
    pickles_, folders_ = (sorted(names)[:_MOST_FILES] for names in (pickles, folders))
    return tuple(folder / name for name in pickles_), tuple(folder / name for name in folders_)


def _is_statistics(path: Path) -> bool:
    """Return whether a file begins as the pickle of a `VecNormalize`: its class comes first."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return is_pickle(head[:2]) and _MARK in head
