"""Replay buffers that SB3 fills in training, with and without forced actions at their head."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import DQN, SAC, HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from fixtures.environments import Tracking
from fixtures.faulty_buffers import FORCED, small
from sacdoctor.training import ExecutedActionReplayBuffer, ForcedActionWarmup
from tests.agents import OBSERVATIONS, TinyEnv


@dataclass
class Run:
    """A trained agent, and at which timestep each call of `train` made how many updates."""

    model: OffPolicyAlgorithm
    updates: list[tuple[int, int]] = field(default_factory=list)

    @property
    def buffer(self) -> ReplayBuffer:
        assert self.model.replay_buffer is not None
        return self.model.replay_buffer

    def updates_by(self, timesteps: int) -> int:
        return sum(number for at, number in self.updates if at <= timesteps)

    def save(self, folder: Path, name: str = "model") -> Path:
        """Save buffer and checkpoint, and return the buffer's path."""
        self.model.save(folder / f"{name}.zip")
        path = folder / f"{name}_replay_buffer.pkl"
        self.model.save_replay_buffer(path)
        return path


def watched(model: OffPolicyAlgorithm, steps: int) -> Run:
    """Train, and write down every call of `train`."""
    run = Run(model)
    own = model.train

    def train(gradient_steps: int, batch_size: int) -> None:
        run.updates.append((model.num_timesteps, gradient_steps))
        own(gradient_steps=gradient_steps, batch_size=batch_size)

    model.train = train  # type: ignore[method-assign]
    model.learn(steps)
    del model.train
    return run


@cache
def tracking(
    action: float | None = 0.0,
    *,
    steps: int = 600,
    n_envs: int = 1,
    executed: bool = False,
    capacity: int = 2_000,
    learning_starts: int = 20,
    train_freq: Any = 4,
    discrete: bool = False,
    gradient_steps: int = 1,
) -> Run:
    """A run in which the place that the action asks for shows in the next observation.

    `action` is forced for `FORCED` steps, None for none. `executed`: the buffer stores it.
    """

    def env() -> Any:
        made = Tracking("discrete" if discrete else "continuous")
        return made if action is None else ForcedActionWarmup(made, FORCED, action)

    model = (DQN if discrete else SAC)(
        "MlpPolicy",
        DummyVecEnv([env] * n_envs),
        seed=1,
        buffer_size=capacity,
        learning_starts=learning_starts,
        train_freq=train_freq,
        gradient_steps=gradient_steps,
        replay_buffer_class=ExecutedActionReplayBuffer if executed else None,
        **small(),
    )
    return watched(model, steps)


KINDS = ("plain", "wrapped", "several", "dict", "her", "n-step", "shared", "shared-wrapped")


@cache
def of_kind(kind: str) -> Run:
    """A run with each kind of buffer; nothing is forced."""
    options: dict[str, Any] = {"buffer_size": 200, "learning_starts": 30, "seed": 1}
    options |= small()
    env: Any = Tracking()
    policy, steps = "MlpPolicy", 120
    if kind in ("wrapped", "shared-wrapped"):
        options["buffer_size"] = 70
    if kind.startswith("shared"):
        options |= {
            "optimize_memory_usage": True,
            "replay_buffer_kwargs": {"handle_timeout_termination": False},
        }
    if kind == "several":
        env, options["buffer_size"] = DummyVecEnv([Tracking] * 3), 90
    if kind == "n-step":
        options["n_steps"] = 3
    if kind == "dict":
        env, policy = TinyEnv(OBSERVATIONS["MultiInput"], False), "MultiInputPolicy"
        options["policy_kwargs"] = {
            "net_arch": [8],
            "features_extractor_kwargs": {"cnn_output_dim": 4},
        }
    if kind == "her":
        env, policy = BitFlippingEnv(n_bits=3, continuous=True, max_steps=6), "MultiInputPolicy"
        options |= {"replay_buffer_class": HerReplayBuffer, "buffer_size": 90}
    return watched(SAC(policy, env, **options), steps)


def refilled(buffer: ReplayBuffer, first: int) -> ReplayBuffer:
    """A fresh buffer of the same class; SB3 itself adds all but the `first` oldest rows to it."""
    options: dict[str, Any] = {"handle_timeout_termination": buffer.handle_timeout_termination}
    if isinstance(buffer, HerReplayBuffer):
        options |= {"env": buffer.env, "n_sampled_goal": buffer.n_sampled_goal}
    else:
        options["optimize_memory_usage"] = buffer.optimize_memory_usage
    if hasattr(buffer, "n_steps"):
        del options["optimize_memory_usage"]
        options |= {"n_steps": buffer.n_steps, "gamma": buffer.gamma}
    fresh = type(buffer)(
        buffer.buffer_size * buffer.n_envs,
        buffer.observation_space,
        buffer.action_space,
        device=buffer.device,
        n_envs=buffer.n_envs,
        **options,
    )
    for row in in_time(buffer)[first:]:
        following = (row + 1) % buffer.buffer_size
        next_obs = (
            buffer.observations[following]
            if buffer.optimize_memory_usage
            else _at(buffer.next_observations, row)
        )
        infos = [{"TimeLimit.truncated": bool(cut)} for cut in buffer.timeouts[row]]
        fresh.add(
            _at(buffer.observations, row),
            next_obs,
            buffer.actions[row],
            buffer.rewards[row],
            buffer.dones[row],
            infos,
        )
    return fresh


def in_time(buffer: ReplayBuffer) -> np.ndarray[Any, Any]:
    """The filled rows, the oldest first."""
    if buffer.full:
        return np.roll(np.arange(buffer.buffer_size), -buffer.pos)
    return np.arange(buffer.pos)


def arrays_of(buffer: ReplayBuffer) -> dict[str, np.ndarray[Any, Any]]:
    """Every array with a row per step, by the name that sacdoctor gives it."""
    found = {}
    for key, value in vars(buffer).items():
        parts = value.items() if isinstance(value, dict) else [(None, value)]
        for part, array in parts:
            if isinstance(array, np.ndarray) and array.ndim > 1 and array.dtype != object:
                found[key if part is None else f"{key}.{part}"] = array
    return found


def _at(array: Any, row: int) -> Any:
    if isinstance(array, dict):
        return {key: value[row] for key, value in array.items()}
    return array[row]
