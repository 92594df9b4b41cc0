"""A warm-up in which the environment carries out a given action, whatever the agent chose."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, SupportsFloat, TypeVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sacdoctor.settings import WARMUP_STEPS
from sacdoctor.training.warmup.infos import EXECUTED_ACTION, FORCED

RANDOM = "random"

ObsType = TypeVar("ObsType")
Action = Any
"""An element of the action space: an integer for Discrete, an array for the other spaces."""


class ForcedActionWarmup(gym.Wrapper[ObsType, Action, ObsType, Action]):
    """Carries out `action` instead of the agent's own for the first `steps` steps.

    Steps are counted over all episodes; a reset does not start the count again. Every step's info
    holds `executed_action`, in the units of this wrapper's action space (after the warm-up: the
    agent's own action), and `forced`. Wrappers that change actions belong inside of this one, so
    that what it reports is in the agent's units.

    In a vectorised environment each copy counts its own steps: with 4 copies, `steps=5000` forces
    20,000 of the model's timesteps.

    :param env: the environment
    :param steps: how many environment steps of this copy are forced
    :param action: a number, which fills the action space's shape (Discrete: the action itself); an
        array of the action space's shape; or "random": drawn anew at every step from the action
        space, by a generator of its own
    :param seed: seeds that generator, as does every `reset` that is given a seed

    Raises `ValueError` where `steps` is below 0 or `action` is not in the action space.
    """

    def __init__(
        self,
        env: gym.Env[ObsType, Action],
        steps: int = WARMUP_STEPS,
        action: float | npt.ArrayLike = 0.0,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(env)
        if steps < 0:
            raise ValueError(f"steps must be at least 0, got {steps}")
        self.forced_steps = int(steps)
        self.forced_action_space = env.action_space
        self.forced_steps_taken = 0
        self._sampler: spaces.Space[Any] | None = None
        self._action: Action = None
        if isinstance(action, str):
            if action != RANDOM:
                raise ValueError(f'action must be a number, an array or "{RANDOM}", got {action!r}')
            self._sampler = deepcopy(env.action_space)
            self._sampler.seed(seed)
        else:
            self._action = action_in_space(env.action_space, action)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        if seed is not None and self._sampler is not None:
            self._sampler.seed(seed)
        return super().reset(seed=seed, options=options)

    def step(self, action: Action) -> tuple[ObsType, SupportsFloat, bool, bool, dict[str, Any]]:
        forced = self.forced_steps_taken < self.forced_steps
        if forced:
            self.forced_steps_taken += 1
            action = self._action if self._sampler is None else self._sampler.sample()
        executed = _copied(action)  # an environment may change the array that it is given
        observation, reward, terminated, truncated, info = self.env.step(_copied(action))
        info = {**info, EXECUTED_ACTION: executed, FORCED: forced}
        return observation, reward, terminated, truncated, info

    def advance_forced_steps(self, steps: int) -> None:
        """Count the first `steps` steps as taken: what a resumed run has behind it.

        Never goes back, and not beyond the end of the warm-up.
        """
        self.forced_steps_taken = min(max(self.forced_steps_taken, steps), self.forced_steps)


def action_in_space(space: spaces.Space[Any], action: float | npt.ArrayLike) -> Action:
    """Return `action` as an element of `space`: an int for Discrete, else an array of its shape.

    A number fills the whole shape of a Box, MultiDiscrete or MultiBinary space.

    Raises `ValueError` where the shape differs, a value is out of bounds or not finite, an integer
    space is given a fraction, or the space is of another kind.
    """
    if not isinstance(
        space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    ):
        raise ValueError(f'in {space} only action="{RANDOM}" can be forced')
    try:
        given = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{action!r} is not an action of {space}") from error
    shape = space.shape or ()
    if given.ndim and given.shape != shape:
        raise ValueError(f"the action's shape is {given.shape}, that of {space} is {shape}")
    filled = np.broadcast_to(given, shape)
    with np.errstate(invalid="ignore"):
        typed = filled.astype(space.dtype)
    if np.issubdtype(typed.dtype, np.integer) and not np.array_equal(typed, filled):
        raise ValueError(f"{space} holds integers only, got {action!r}")
    element: Action = int(typed) if isinstance(space, spaces.Discrete) else typed
    if not np.isfinite(filled).all() or not space.contains(element):
        raise ValueError(f"the action {action!r} is not in {space}")
    return element


def _copied(action: Action) -> Action:
    return action.copy() if isinstance(action, np.ndarray) else action
