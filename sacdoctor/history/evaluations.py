"""`evaluations.npz`, as SB3's `EvalCallback` writes it: returns of episodes played to evaluate.

Source: stable_baselines3/common/callbacks.py, `EvalCallback._on_step`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.errors import SacdoctorError
from sacdoctor.files import files_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "evaluations.npz"
_TIMESTEPS, _RETURNS = "timesteps", "results"


class EvaluationLog(Struct, frozen=True, eq=False):
    """Evaluations in the order of time: the `timesteps` of each and its mean return, shape (n,).

    Those whose mean is not finite are left out; `non_finite` has their timesteps.
    """

    path: Path
    timesteps: NDArray[Any]
    returns: NDArray[Any]
    non_finite: NDArray[Any]


def read_evaluations(folder: Path) -> tuple[list[EvaluationLog], list[SacdoctorError]]:
    """Return the evaluations below a folder, and what is wrong with files that are unreadable.

    No object is ever unpickled: a file whose evaluations differ in their number of episodes, which
    numpy keeps as objects, is one of them.
    """
    logs: list[EvaluationLog] = []
    errors: list[SacdoctorError] = []
    for path in files_below(folder, NAME):
        try:
            logs.append(_log(path))
        except SacdoctorError as error:
            errors.append(error)
    return logs, errors


def _log(path: Path) -> EvaluationLog:
    # What reads arrays comes with replay buffers, which most runs have no need of.
    from sacdoctor.replay import read_arrays

    arrays = read_arrays(path, (_TIMESTEPS, _RETURNS))
    if len(arrays) < 2:
        raise SacdoctorError("it holds no timesteps or no results: not of SB3's EvalCallback", path)
    timesteps, results = arrays[_TIMESTEPS], arrays[_RETURNS]
    if (
        timesteps.ndim != 1
        or len(results) != len(timesteps)
        or not {
            timesteps.dtype.kind,
            results.dtype.kind,
        }
        <= {"i", "u", "f"}
    ):
        raise SacdoctorError("its results do not stand one evaluation a row", path)
    with np.errstate(all="ignore"):
        returns = results.reshape(len(results), -1).astype(np.float64).mean(axis=1)
    order = np.argsort(timesteps, kind="stable")
    timesteps, returns = timesteps[order].astype(np.int64), returns[order]
    is_finite = np.isfinite(returns)
    return EvaluationLog(path, timesteps[is_finite], returns[is_finite], timesteps[~is_finite])
