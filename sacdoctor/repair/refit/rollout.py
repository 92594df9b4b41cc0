"""What a healthy policy did, recorded by somebody in a `.npz`: observations, and its actions.

    numpy.savez("rollout.npz", observations=…, actions=…, episode_starts=…)

Rows stand in order of time, shape (n, …), or (steps, environments, …). Observations are as the
environment gives them, those of a Dict as `observations/KEY`; actions as it takes them.
`episode_starts` (or `dones`, which say it of the row before) tell a recurrent policy when to
forget; `action_masks` are MaskablePPO's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from torch import Tensor

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.repair.refit.recorded import (
    BLOCK,
    FEWEST,
    Given,
    Normalise,
    Observations,
    Recorded,
    purposes,
)
from sacdoctor.replay import read_arrays, read_observations

MOST = 10_000
"""Rows that are looked at, the newest: more tell no more of a few hundred biases."""
_BESIDE = ("actions", "episode_starts", "dones", "action_masks")


class _Rows:
    """The layout that the array of actions shows: rows in one column, or one per environment."""

    def __init__(self, actions: NDArray[Any], space: spaces.Space[Any]) -> None:
        shape = space.shape or ()
        if actions.ndim and actions.shape[-1:] == (1,) and shape == ():
            actions = actions[..., 0]
        columns = actions.ndim - len(shape)
        if columns not in (1, 2) or actions.shape[columns:] != shape:
            raise _unfit("actions", actions.shape, shape)
        self._leading = actions.shape[:columns]
        self.actions = self.of("actions", actions, shape)

    def of(self, name: str, array: NDArray[Any], *shapes: tuple[int, ...]) -> NDArray[Any]:
        """Return the rows, those of one environment after those of another.

        `shapes` are those that a row may have, any where there are none. Raises
        `UnsupportedCheckpoint` for others.
        """
        columns = len(self._leading)
        if array.shape[:columns] != self._leading:
            raise UnsupportedCheckpoint(
                f"its {name} have the shape {array.shape}, and its actions {self._leading}: not a "
                "row for each"
            )
        own = array.shape[columns:]
        if shapes and own not in shapes:
            raise _unfit(name, own, shapes[0])
        if columns == 2:
            array = array.swapaxes(0, 1)
        return array.reshape(-1, *own)

    @property
    def first(self) -> NDArray[np.int64]:
        """The first row of each environment."""
        environments = self._leading[1] if len(self._leading) == 2 else 1
        first: NDArray[np.int64] = np.arange(environments) * self._leading[0]
        return first


def rollout(path: Path, model: BaseAlgorithm, normalise: Normalise | None = None) -> Recorded:
    """Return what a `.npz` recorded, for the likelihood of its actions: it has no rewards.

    Raises `SacdoctorError` where observations or actions are missing, are of other shapes than the
    agent's, or of other lengths, or too few are finite.
    """
    arrays = read_arrays(path, _BESIDE)
    if "actions" not in arrays:
        raise UnsupportedCheckpoint("it holds no actions beside its observations")
    rows = _Rows(arrays["actions"], model.action_space)
    observed = _observed(path, rows, model)
    if normalise is not None:
        observed = {key: normalise(key, part) for key, part in observed.items()}
    usable = np.ones(len(rows.actions), np.bool_)
    for part in (*observed.values(), rows.actions):
        if part.dtype.kind == "f":
            usable &= np.isfinite(part.reshape(len(part), -1)).all(axis=1)
    kept = np.flatnonzero(usable)[-MOST:]
    if len(kept) < FEWEST:
        raise UnsupportedCheckpoint(
            f"it holds {len(kept):,} usable rows, and a refit takes {FEWEST:,} or more"
        )
    given = _given(arrays, rows, {key: part[kept] for key, part in observed.items()}, kept, model)
    blocks = kept // BLOCK
    fitted, stopping, held_out = purposes(blocks)
    nothing = torch.zeros(len(kept))
    return Recorded(
        observations=given,
        actions=_actions(rows.actions[kept], model),
        rewards=nothing,
        following=given,
        goes_on=nothing,
        is_last=np.ones(len(kept), np.bool_),
        weights=torch.ones(len(kept)),
        blocks=blocks,
        fitted=fitted,
        stopping=stopping,
        held_out=held_out,
    )


def _unfit(name: str, own: tuple[int, ...], wanted: tuple[int, ...]) -> UnsupportedCheckpoint:
    return UnsupportedCheckpoint(f"its {name} have the shape {own}, and the agent's have {wanted}")


def _observed(path: Path, rows: _Rows, model: BaseAlgorithm) -> dict[str, NDArray[Any]]:
    space = model.observation_space
    wanted = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    found = read_observations(path, np.arange)
    if found.keys() != wanted.keys():
        own, others = (", ".join(filter(None, keys)) or "one array" for keys in (found, wanted))
        raise UnsupportedCheckpoint(f"its observations are {own}, and the agent's are {others}")
    observed = {}
    for key, part in wanted.items():
        shape = part.shape or ()
        turned = (*shape[1:], shape[0]) if is_image_space(part) else shape  # SB3 turns those
        observed[key] = rows.of(f"observations {key}".strip(), found[key], shape, turned)
    return observed


def _given(
    arrays: Mapping[str, NDArray[Any]],
    rows: _Rows,
    observed: dict[str, NDArray[Any]],
    kept: NDArray[np.int64],
    model: BaseAlgorithm,
) -> Observations:
    """Return what the policy is given in each row, for a recurrent one with what came before."""
    policy: Any = model.policy
    seen: Tensor | dict[str, Tensor] = policy.obs_to_tensor(observed.get("", observed))[0]
    if "action_masks" in arrays:
        masks = rows.of("action_masks", arrays["action_masks"])[kept]
        return Given(seen, masks=torch.as_tensor(masks.reshape(len(kept), -1) != 0))
    if not hasattr(policy, "lstm_actor"):
        return seen
    starts = np.zeros(len(rows.actions), np.float32)
    if "episode_starts" in arrays:
        starts = rows.of("episode_starts", arrays["episode_starts"], (), (1,)).reshape(-1) != 0
    elif "dones" in arrays:
        starts[1:] = rows.of("dones", arrays["dones"], (), (1,)).reshape(-1)[:-1] != 0
    starts = starts.astype(np.float32)
    starts[rows.first] = 1.0
    lost = np.diff(kept, prepend=-1) != 1  # what stood between is not finite
    return Given(seen, starts=torch.as_tensor(np.maximum(starts[kept], lost)))


def _actions(actions: NDArray[Any], model: BaseAlgorithm) -> Tensor:
    space = model.action_space
    if not isinstance(space, spaces.Box):
        return torch.as_tensor(actions.reshape(len(actions), -1).astype(np.int64))
    policy: Any = model.policy
    if getattr(policy, "squash_output", False):  # else as they are
        actions = policy.scale_action(actions)
    return torch.as_tensor(np.ascontiguousarray(actions, dtype=np.float32))
