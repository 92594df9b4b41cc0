"""Replay buffers that store the action which was carried out, not the one that was sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from sacdoctor.training.warmup.infos import EXECUTED_ACTION

Array = npt.NDArray[Any]

PUBLIC_MODULE = "sacdoctor.training"
"""What pickles of these buffers name: files outlive the place of a module."""


class ExecutedActionMixin(ReplayBuffer):
    """Makes a replay buffer store what the infos report as `executed_action`.

    SB3 stores the action that its policy sampled. Where the environment carried out another one
    (`ForcedActionWarmup`, a safety layer), the transition then pairs an action with a reward and a
    next observation that it did not cause. The executed action comes in the units of the action
    space and is scaled to [-1, 1] as SB3 scales what it stores for Box spaces. Infos without the
    key, and actions that were carried out as sampled, keep the stored value bit for bit.

    For SB3's other buffers, name this class first::

        class ExecutedNStep(ExecutedActionMixin, NStepReplayBuffer): ...

    Raises `ValueError` on `add` where an executed action's shape is not that of the action space.
    """

    def add(
        self,
        obs: Any,
        next_obs: Any,
        action: Array,
        reward: Array,
        done: Array,
        infos: list[dict[str, Any]],
    ) -> None:
        stored = action.reshape((self.n_envs, self.action_dim))
        super().add(obs, next_obs, self._executed(stored, infos), reward, done, infos)

    def _executed(self, stored: Array, infos: list[dict[str, Any]]) -> Array:
        reported = [env for env, info in enumerate(infos) if EXECUTED_ACTION in info]
        if not reported:
            return stored
        stored = stored.copy()
        for env in reported:
            executed = np.asarray(infos[env][EXECUTED_ACTION])
            if executed.size != self.action_dim:
                raise ValueError(
                    f"environment {env} reports an executed action of shape {executed.shape}, "
                    f"the action space is {self.action_space}"
                )
            executed = executed.reshape(self.action_dim)
            if not isinstance(self.action_space, spaces.Box):
                stored[env] = executed
            elif not np.array_equal(executed, _unscaled(self.action_space, stored[env])):
                stored[env] = scaled(self.action_space, executed)
        return stored


class ExecutedActionReplayBuffer(ExecutedActionMixin, ReplayBuffer):
    """SB3's `ReplayBuffer`, with executed actions: `SAC(..., replay_buffer_class=…)`."""

    __module__ = PUBLIC_MODULE


class ExecutedActionDictReplayBuffer(ExecutedActionMixin, DictReplayBuffer):
    """SB3's `DictReplayBuffer`, for Dict observations, with executed actions."""

    __module__ = PUBLIC_MODULE


def scaled(space: spaces.Box, action: Array) -> Array:
    """Return an action of shape `(action_dim,)` scaled from the space's bounds to [-1, 1].

    The formula is that of SB3's `BasePolicy.scale_action`.
    """
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    result: Array = 2.0 * ((action - low) / (high - low)) - 1.0
    return result


def _unscaled(space: spaces.Box, action: Array) -> Array:
    """What `BasePolicy.unscale_action` makes of a stored action: the one the environment got."""
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    result: Array = low + (0.5 * (action + 1.0) * (high - low))
    return result
