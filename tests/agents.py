"""Agents of every algorithm, trained for a moment on environments of a few numbers."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import sb3_contrib
import stable_baselines3
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)  # the least that SB3's NatureCNN takes
VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "Mlp": VECTOR,
    "Linear": VECTOR,
    "Cnn": IMAGE,
    "MultiInput": spaces.Dict({"screen": IMAGE, "speed": VECTOR}),
}
DISCRETE = ("DQN", "QRDQN", "MaskablePPO")
ON_POLICY = ("A2C", "PPO", "TRPO", "MaskablePPO", "RecurrentPPO")

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    **{n: getattr(stable_baselines3, n) for n in ("A2C", "PPO", "SAC", "TD3", "DDPG", "DQN")},
    **{
        n: getattr(sb3_contrib, n)
        for n in ("TQC", "QRDQN", "TRPO", "ARS", "CrossQ", "MaskablePPO", "RecurrentPPO")
    },
}
KINDS = [(name, policy) for name, cls in ALGORITHMS.items() for policy in cls.policy_aliases]
"""Every algorithm with every policy it knows by name: MLP, CNN and Dict observations."""


class TinyEnv(gym.Env[Any, Any]):
    """Random observations, and a reward for small actions."""

    def __init__(self, observations: spaces.Space[Any], discrete: bool) -> None:
        self.observation_space = observations
        self.action_space = spaces.Discrete(2) if discrete else spaces.Box(-1.0, 1.0, (2,))
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        reward = -float(np.square(action).sum()) + float(self.np_random.normal())
        return self.observation_space.sample(), reward, False, self._steps >= 10, {}

    def action_masks(self) -> np.ndarray[Any, Any]:
        return np.array([True, True])


def train(name: str, policy: str, **options: Any) -> BaseAlgorithm:
    """A small agent of algorithm `name` after a few updates."""
    observations = OBSERVATIONS[policy.removesuffix("Policy").removesuffix("Lstm")]
    env = TinyEnv(observations, name in DISCRETE)
    return ALGORITHMS[name](
        policy, env, seed=1, device="cpu", **{**_settings(name, policy), **options}
    ).learn(48)


def _settings(name: str, policy: str) -> dict[str, Any]:
    sizes: dict[str, Any] = {} if policy == "LinearPolicy" else {"net_arch": [8]}
    if policy.startswith("Cnn"):
        sizes["features_extractor_kwargs"] = {"features_dim": 8}
    if policy.startswith("MultiInput"):
        sizes["features_extractor_kwargs"] = {"cnn_output_dim": 8}
    if name == "RecurrentPPO":
        sizes["lstm_hidden_size"] = 8
    if name == "ARS":
        return {"policy_kwargs": sizes, "n_delta": 2}
    if name in ON_POLICY:
        batch = {} if name == "A2C" else {"batch_size": 8}
        return {"policy_kwargs": sizes, "n_steps": 16, **batch}
    return {"policy_kwargs": sizes, "buffer_size": 64, "learning_starts": 16, "batch_size": 8}
