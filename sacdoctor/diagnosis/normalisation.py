"""An agent trained under `VecNormalize`: how its file shows it, and the statistics beside it.

On-policy algorithms keep `_last_original_obs` from the reset at which `learn()` began, and only
where there was a `VecNormalize`. Off-policy ones keep it from every step: without one it is the
observation before the last, so that it differs from `_last_obs` in every healthy agent and proves
nothing by itself. Source: stable_baselines3/common/base_class.py, `_setup_learn`;
off_policy_algorithm.py, `_store_transition`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis.pickled_settings import UNBOUNDED, Box, observation_boxes
from sacdoctor.diagnosis.policy_settings import observations
from sacdoctor.diagnosis.vec_normalize import Statistics, read_statistics, statistics_beside
from sacdoctor.errors import SacdoctorError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

_OUTSIDE = 1e-3
"""Of a limit, or of 1 where that is smaller: how far beyond it an observation is outside."""
_RESETS = 20
"""Resets of all environments: each adds an observation that is no step, and `learn()` makes one."""


class Normalised(NamedTuple):
    """An agent that was, or may have been, trained under `VecNormalize`.

    `last` are its last observations as the network saw them, by their keys; `original` is what the
    file keeps of them before: of the same moment where `is_same_moment`, else from the first reset.
    `proof` says how the file shows that observations were normalised, None where it does not.
    `own` are the statistics that belong to the file, None where none do or they cannot be read;
    `is_beside` says that there are some, maybe of another checkpoint. `is_of_run`: all of a run's
    folder was looked at.
    """

    last: Mapping[str, NDArray[Any]]
    original: Mapping[str, NDArray[Any]]
    limits: Mapping[str, Box]
    steps: int
    environments: int
    is_same_moment: bool
    proof: str | None
    own: Statistics | None
    is_named: bool
    is_beside: bool
    is_of_run: bool

    @classmethod
    def in_words(cls) -> str:
        return "a checkpoint with the VecNormalize statistics beside it"

    @property
    def belongs(self) -> bool:
        """Whether the statistics are those of this training, for all that can be known.

        Their name says so; or the file shows that there were some, and there are no others; or
        they were gathered from as many observations as the agent made steps.
        """
        if self.own is None:
            return False
        made = self.own.count - self.steps
        return (
            self.is_named
            or self.proof is not None
            or not self.is_same_moment
            or 0.0 <= made <= _RESETS * self.environments
        )


def normalised(checkpoint: Checkpoint, run: Path | None = None) -> Normalised | None:
    """Return what is known about an agent's normalisation, None where there is nothing to say.

    With `run`, the folder of a run, statistics are looked for in all of it.
    """
    original = observations(checkpoint, "_last_original_obs")
    last = observations(checkpoint, "_last_obs")
    last = {k: v for k, v in last.items() if v.dtype.kind == "f" and v.size and v.ndim > 1}
    original = {k: v for k, v in original.items() if k in last and v.shape == last[k].shape}
    if not original:
        return None
    limits = observation_boxes(checkpoint)
    row = None if checkpoint.algorithm is None else ALGORITHMS[checkpoint.algorithm]
    replays = row is not None and row.replays
    proof = _proof(last, original, limits)
    beside = statistics_beside(Path(checkpoint.path), run)
    own = None
    if beside.own is not None:
        try:
            own = read_statistics(beside.own)
        except SacdoctorError:
            own = None  # `sacdoctor scan` of that file says what it is
    elif replays and proof is None:
        return None
    return Normalised(
        last,
        original,
        limits,
        checkpoint.hyperparameters.integer("num_timesteps") or 0,
        len(next(iter(last.values()))),
        replays,
        proof,
        own,
        beside.is_named,
        beside.own is not None or bool(beside.others),
        run is not None,
    )


def _proof(
    last: Mapping[str, NDArray[Any]],
    original: Mapping[str, NDArray[Any]],
    limits: Mapping[str, Box],
) -> str | None:
    for key, before in original.items():
        if before.dtype != last[key].dtype:
            return f"observations of type {before.dtype} reached the network as {last[key].dtype}"
        box = limits.get(key)
        if box is None or box.low.size != last[key][0].size:
            continue
        beyond = excess(last[key], box)
        if beyond > 0.0 and excess(before, box) == 0.0:
            return (
                f"the last observation, up to {float(np.abs(last[key]).max()):.3g}, lies outside "
                "of the observation space, and the original one inside"
            )
    return None


def excess(rows: NDArray[Any], box: Box, slack: NDArray[Any] | float = 0.0) -> float:
    """Return by how much observations lie beyond their limits and `slack`, at most; 0 for inside.

    What is not finite is no observation.
    """
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    beyond = np.zeros_like(flat)
    for limit, sign in ((box.low, -1.0), (box.high, 1.0)):
        room = _OUTSIDE * np.maximum(np.abs(limit), 1.0) + slack
        over = sign * (flat - limit) - room
        beyond = np.maximum(beyond, np.where(np.abs(limit) < UNBOUNDED, over, 0.0))
    return float(np.max(beyond, initial=0.0, where=np.isfinite(beyond)))
