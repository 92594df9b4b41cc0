"""What a replay buffer recorded, as tensors that the networks of one agent take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from msgspec import Struct
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.replay import ReplayBuffer

FEWEST = 200
"""Usable transitions below which nothing is fitted: a tenth of them would prove nothing."""
BLOCK = 20
"""Rows in a stretch of neighbours that is fitted on, or held out, as one: neighbours are alike."""
HALF_LIFE = 0.175
"""Share of the transitions that are asked for after which an action counts half as much: the policy
changed while it was recorded. Fitted to 2,000 actions that all counted the same, four of 20
broken agents on Pendulum came out worse than they were left. One of TQC (-135; broken -197) came to
-353, and to -140 where 4,000 actions fade; another of TD3 (-153; broken -891) to -194 and -181."""
_FITTED, _STOPPING, _CYCLE = 7, 8, 10
"""Of ten stretches seven are fitted on, one tells when to stop, and two are held out."""

BURN_IN = 40
"""Rows before each stretch that a recurrent policy is led through, as its state is not recorded
(Kapturowski et al. 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning")."""


class Given(Struct, frozen=True, eq=False):
    """Observations, and what a policy is given beside them: n rows.

    `masks` (n, choices) are the allowed ones. `starts` is 1.0 where an episode begins: of all rows
    (n,); of some the stretches of neighbours that they are in, with `BURN_IN` rows before each,
    shape (stretches, steps), as their observations are; `asked` says which of these were meant.
    """

    observations: Tensor | dict[str, Tensor]
    masks: Tensor | None = None
    starts: Tensor | None = None
    asked: Tensor | None = None

    def at(self, rows: Tensor) -> Given:
        """Return what is given in these rows. The first row of all begins an episode."""
        if self.starts is None:
            masks = None if self.masks is None else self.masks[rows]
            return Given(_of_rows(self.observations, rows), masks)
        stretches, which = torch.unique(rows // BLOCK, return_inverse=True)
        steps = torch.arange(-BURN_IN, BLOCK)
        taken = (stretches[:, None] * BLOCK + steps).clamp(0, len(self.starts) - 1)
        seen = _of_rows(self.observations, taken.reshape(-1))
        asked = which * len(steps) + BURN_IN + rows % BLOCK
        return Given(seen, starts=self.starts[taken], asked=asked)


Observations = Tensor | dict[str, Tensor] | Given
Normalise = Callable[[str, NDArray[Any]], NDArray[Any]]
"""What an environment's wrapper made of observations, by the key in a Dict, else an empty text."""


class Recorded(Struct, frozen=True, eq=False):
    """The newest transitions of a buffer: n rows, environment by environment, in order of time.

    `actions` (n, …) as SB3 stores them, Box actions scaled to [-1, 1]. `rewards` (n,). `goes_on`
    (n,): 0.0 where the episode ended for good, else 1.0. `is_last` (n,): the next row does not
    follow. `weights` (n,): 1.0 for the newest, less the older they are. `fitted`, `stopping` and
    `held_out` are the numbers of the rows for each purpose; `blocks` (n,) is the stretch of
    neighbouring rows that each is of.
    """

    observations: Observations
    actions: Tensor
    rewards: Tensor
    following: Observations
    goes_on: Tensor
    is_last: NDArray[np.bool_]
    weights: Tensor
    blocks: NDArray[np.int64]
    fitted: Tensor
    stopping: Tensor
    held_out: Tensor

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def comes_in_stretches(self) -> bool:
        """Whether a row is looked at with its neighbours, as a recurrent policy has to."""
        return isinstance(self.observations, Given) and self.observations.starts is not None


def at(observations: Observations, rows: Tensor) -> Observations:
    """Return the observations of these rows."""
    if isinstance(observations, Given):
        return observations.at(rows)
    return _of_rows(observations, rows)


def _of_rows(observations: Tensor | dict[str, Tensor], rows: Tensor) -> Tensor | dict[str, Tensor]:
    if isinstance(observations, dict):
        return {key: part[rows] for key, part in observations.items()}
    return observations[rows]


def purposes(blocks: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows that are fitted on, tell when to stop, and are held out, by their blocks."""
    part = blocks % _CYCLE
    fitted, stopping = part < _FITTED, (part >= _FITTED) & (part < _STOPPING)
    chosen = (fitted, stopping, part >= _STOPPING)
    one, two, three = (torch.as_tensor(np.flatnonzero(which)) for which in chosen)
    return one, two, three


def recorded(
    buffer: ReplayBuffer,
    model: BaseAlgorithm,
    newest: int,
    normalise: Normalise | None = None,
    reward_unit: float = 1.0,
) -> Recorded:
    """Return the `newest` transitions, or as many as there are, without what is not finite.

    Rewards are divided by `reward_unit`, as `VecNormalize` did for the agent.

    Raises `UnsupportedCheckpoint` where observations or actions are of other shapes than the
    agent's, or too few are left.
    """
    _refuse_other_shapes(buffer, model)
    rows = -(-newest // buffer.n_envs)
    times = np.arange(max(buffer.whole.start, buffer.whole.stop - rows), buffer.whole.stop)
    if buffer.optimize_memory_usage:
        times = times[times + 1 < buffer.size]

    def read(name: str, when: NDArray[np.int64] = times) -> NDArray[Any]:
        taken = buffer.take(name, when).reshape(len(when), buffer.n_envs, -1)
        return taken.swapaxes(0, 1).reshape(len(when) * buffer.n_envs, -1)

    def flags(name: str) -> NDArray[np.bool_]:
        if name not in buffer.arrays:
            return np.zeros(len(times) * buffer.n_envs, np.bool_)
        return np.asarray(read(name)[:, 0] != 0)

    observed = {name: read(name) for name in buffer.observation_names}
    later = times + 1 if buffer.optimize_memory_usage else times
    shift = "" if buffer.optimize_memory_usage else "next_"
    following = {name: read(shift + name, later) for name in buffer.observation_names}
    actions, rewards = (
        read("actions"),
        read("rewards")[:, 0].astype(np.float32) / np.float32(reward_unit),
    )
    timeouts = flags("timeouts")
    terminal = flags("dones") & ~timeouts
    # Without next observations, that of an episode's last step is the next episode's first.
    usable = ~(timeouts & np.bool_(buffer.optimize_memory_usage))
    for column in (*observed.values(), *following.values(), actions, rewards[:, None]):
        usable &= np.isfinite(column).all(axis=1) if column.dtype.kind == "f" else True
    last = terminal | timeouts
    last[len(times) - 1 :: len(times)] = True
    last[:-1] |= ~usable[1:]
    number = np.arange(len(last))
    block = number // BLOCK
    ages = np.tile(np.arange(len(times))[::-1], buffer.n_envs) / (HALF_LIFE * rows)
    kept = np.flatnonzero(usable)
    if len(kept) < FEWEST:
        raise UnsupportedCheckpoint(
            f"it holds {len(kept):,} usable transitions, and a refit takes {FEWEST:,} or more"
        )
    fitted, stopping, held_out = purposes(block[kept])
    return Recorded(
        observations=_observations(observed, model, kept, normalise),
        actions=_actions(actions[kept], buffer, model),
        rewards=torch.as_tensor(rewards[kept]),
        following=_observations(following, model, kept, normalise),
        goes_on=torch.as_tensor(1.0 - terminal[kept].astype(np.float32)),
        is_last=last[kept],
        weights=torch.as_tensor(np.exp2(-ages[kept]).astype(np.float32)),
        blocks=block[kept],
        fitted=fitted,
        stopping=stopping,
        held_out=held_out,
    )


def _spaces(model: BaseAlgorithm) -> Mapping[str, spaces.Space[Any]]:
    space = model.observation_space
    return space.spaces if isinstance(space, spaces.Dict) else {"": space}


def _key(name: str) -> str:
    """Return the key in a Dict of observations that an array belongs to, else an empty text."""
    return name.partition(".")[2]


def _refuse_other_shapes(buffer: ReplayBuffer, model: BaseAlgorithm) -> None:
    wanted = {key: int(np.prod(space.shape or (1,))) for key, space in _spaces(model).items()}
    held = {_key(name): buffer.arrays[name][0, 0].size for name in buffer.observation_names}
    if wanted != held:
        raise UnsupportedCheckpoint(
            f"its observations have {_sizes(held)} numbers, and the agent's have {_sizes(wanted)}"
        )
    of_agent = int(np.prod(model.action_space.shape or (1,)))
    of_buffer = buffer.arrays["actions"][0, 0].size
    if of_agent != of_buffer:
        raise UnsupportedCheckpoint(
            f"its actions have {of_buffer:,} numbers, and the agent's have {of_agent:,}"
        )


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{size:,} ({key})" if key else f"{size:,}" for key, size in sizes.items())


def _observations(
    columns: Mapping[str, NDArray[Any]],
    model: BaseAlgorithm,
    kept: NDArray[np.int64],
    normalise: Normalise | None,
) -> Observations:
    found: dict[str, Tensor] = {}
    for key, space in _spaces(model).items():
        column = columns[f"observations.{key}" if key else "observations"][kept]
        shaped = column.reshape(len(kept), *(space.shape or ()))
        if normalise is not None:
            shaped = normalise(key, shaped)
        if shaped.dtype == np.float64:
            shaped = shaped.astype(np.float32)  # as SB3's buffers hand them out
        found[key] = torch.as_tensor(np.ascontiguousarray(shaped))
    return found.get("", found)


def _actions(actions: NDArray[Any], buffer: ReplayBuffer, model: BaseAlgorithm) -> Tensor:
    space = model.action_space
    if not isinstance(space, spaces.Box):
        return torch.as_tensor(actions.reshape(len(actions), -1).astype(np.int64))
    shaped = actions.reshape(len(actions), *space.shape)
    if not buffer.is_sb3s:  # SB3 stores them scaled
        shaped = 2.0 * (shaped - space.low) / (space.high - space.low) - 1.0
    return torch.as_tensor(np.ascontiguousarray(shaped, dtype=np.float32))
