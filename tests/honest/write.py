"""Writes the honest corpus: `python tests/honest/write.py FOLDER`.

It is run as a script because cloudpickle writes what is defined in `__main__` by value, code and
all, as it does for a user's notebook. Into `sb3/` goes what every algorithm of SB3 and sb3-contrib
writes with its default settings after a few steps: checkpoints, buffers, statistics, policies.
Into `own/` go agents with code of a user's own.
"""

from __future__ import annotations

import argparse
import enum
import math
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import sb3_contrib
import stable_baselines3 as sb3
import torch as th
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.her import HerReplayBuffer

th.set_num_threads(1)
warnings.simplefilter("ignore")

ON = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}
OFF = {"learning_starts": 4, "batch_size": 4, "buffer_size": 64}


# -- what SB3 writes ------------------------------------------------------------------------------


def _masked(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    from sb3_contrib.common.wrappers import ActionMasker

    return ActionMasker(env, lambda inner: np.ones(inner.action_space.n, bool))


def _small_image() -> gym.Env[Any, Any]:
    return FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True)


SB3: dict[str, Callable[[], Any]] = {
    "ppo": lambda: sb3.PPO("MlpPolicy", "CartPole-v1", **ON),
    "ppo-box": lambda: sb3.PPO("MlpPolicy", "Pendulum-v1", use_sde=True, **ON),
    "ppo-dict": lambda: sb3.PPO("MultiInputPolicy", SimpleMultiObsEnv(), **ON),
    "ppo-cnn": lambda: sb3.PPO("CnnPolicy", _small_image(), **ON),
    "a2c": lambda: sb3.A2C("MlpPolicy", "CartPole-v1"),
    "dqn": lambda: sb3.DQN("MlpPolicy", "CartPole-v1", **OFF),
    "sac": lambda: sb3.SAC("MlpPolicy", "Pendulum-v1", **OFF),
    "sac-fixed": lambda: sb3.SAC("MlpPolicy", "Pendulum-v1", ent_coef=0.1, **OFF),
    "td3": lambda: sb3.TD3(
        "MlpPolicy", "Pendulum-v1", action_noise=NormalActionNoise(np.zeros(1), np.ones(1)), **OFF
    ),
    "ddpg": lambda: sb3.DDPG(
        "MlpPolicy",
        "Pendulum-v1",
        action_noise=OrnsteinUhlenbeckActionNoise(np.zeros(1), np.ones(1)),
        **OFF,
    ),
    "her": lambda: sb3.SAC(
        "MultiInputPolicy",
        BitFlippingEnv(n_bits=4, continuous=True, max_steps=4),
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 2, "goal_selection_strategy": "future"},
        **{**OFF, "learning_starts": 16},
    ),
    "ars": lambda: sb3_contrib.ARS("LinearPolicy", "Pendulum-v1", n_delta=1),
    "crossq": lambda: sb3_contrib.CrossQ("MlpPolicy", "Pendulum-v1", **OFF),
    "tqc": lambda: sb3_contrib.TQC("MlpPolicy", "Pendulum-v1", **OFF),
    "qrdqn": lambda: sb3_contrib.QRDQN("MlpPolicy", "CartPole-v1", **OFF),
    "trpo": lambda: sb3_contrib.TRPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16),
    "recurrent": lambda: sb3_contrib.RecurrentPPO("MlpLstmPolicy", "CartPole-v1", **ON),
    "maskable": lambda: sb3_contrib.MaskablePPO(
        "MlpPolicy", _masked(gym.make("CartPole-v1")), **ON
    ),
    "ppo-schedule": lambda: sb3.PPO(
        "MlpPolicy", "CartPole-v1", learning_rate=LinearSchedule(1e-3, 1e-4, 0.5), **ON
    ),
    "ppo-activation": lambda: sb3.PPO(
        "MlpPolicy",
        "CartPole-v1",
        policy_kwargs={"activation_fn": th.nn.ELU, "net_arch": [8], "ortho_init": False},
        **ON,
    ),
    "sac-optimizer": lambda: sb3.SAC(
        "MlpPolicy",
        "Pendulum-v1",
        policy_kwargs={"optimizer_class": th.optim.RMSprop, "net_arch": [8]},
        **OFF,
    ),
}


def write_sb3(folder: Path) -> None:
    """Every algorithm, with what `save`, `save_replay_buffer` and the callbacks write."""
    for name, make in SB3.items():
        model = make()
        model.learn(40, callback=CheckpointCallback(20, str(folder), name))
        model.save(folder / f"{name}.zip")
        model.policy.save(str(folder / f"{name}-policy.pth"))
        if getattr(model, "replay_buffer", None) is not None:
            model.save_replay_buffer(folder / f"{name}_replay_buffer.pkl")
    normal = VecNormalize(make_vec_env("Pendulum-v1", 2))
    model = sb3.PPO("MlpPolicy", normal, **ON)
    model.learn(32)
    model.save(folder / "normalized.zip")
    normal.save(str(folder / "normalized_vecnormalize.pkl"))
    nested = VecNormalize(DummyVecEnv([SimpleMultiObsEnv]), norm_obs_keys=["vec"])
    nested.reset()
    nested.save(str(folder / "nested_vecnormalize.pkl"))


# -- what users put into it ------------------------------------------------------------------------


@dataclass
class Config:
    """A configuration, as half the projects have one."""

    name: str = "eval"
    rate: float = 3e-4
    layers: list[int] = field(default_factory=lambda: [8, 8])
    path: str = os.path.join("runs", "system")

    def open(self) -> str:
        """A word that means no harm."""
        return os.path.join(self.path, self.name)


class Point(NamedTuple):
    """A tuple with names."""

    open: float
    close: float


class Mode(enum.Enum):
    """An enumeration."""

    TRAIN = "train"
    EVAL = "eval"


class Candle:
    """An object with an attribute of a dangerous name."""

    def __init__(self) -> None:
        self.open, self.close, self.system = 1.0, 2.0, "x"


class Extractor(BaseFeaturesExtractor):
    """A features extractor that compiles, evaluates and joins paths."""

    def __init__(self, observation_space: gym.Space[Any], features_dim: int = 8) -> None:
        super().__init__(observation_space, features_dim)
        self.net = th.nn.Sequential(
            th.nn.Linear(int(np.prod(observation_space.shape)), features_dim), th.nn.ReLU()
        )
        self.weights = os.path.join("weights", "open.pt")
        self.eval_mode = False

    def compiled(self) -> Any:
        """Return the network compiled."""
        self.net.eval()
        return th.compile(self.net)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Return the features."""
        if self.eval_mode:
            self.eval()
        return self.net(observations)


class Policy(ActorCriticPolicy):
    """A policy of one's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, features_extractor_class=FlattenExtractor)


class OwnBuffer(ReplayBuffer):
    """A buffer of one's own."""

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Return the latest."""
        return super().sample(batch_size, env)


class OwnDictBuffer(DictReplayBuffer):
    """Another."""


class Swish(th.nn.Module):
    """An activation of one's own."""

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Return x σ(x)."""
        return x * th.sigmoid(x)


class Clipped(th.optim.Adam):
    """An optimizer of one's own."""


def linear(start: float) -> Callable[[float], float]:
    """The closure of rl-zoo."""

    def schedule(progress: float) -> float:
        return progress * start

    return schedule


def cosine(start: float) -> Callable[[float], float]:
    """A schedule that uses a module."""
    return lambda progress: start * (1 + math.cos(math.pi * (1 - progress))) / 2


class Warmup:
    """A schedule that is an object."""

    def __init__(self, start: float) -> None:
        self.start = start

    def __call__(self, progress: float) -> float:
        """Return the rate."""
        return self.start * min(1.0, 10 * (1 - progress) + 0.1)


def step(progress: float) -> float:
    """A function of the script."""
    return 3e-4 if progress > 0.5 else 1e-4


def _ppo(**settings: Any) -> Any:
    return sb3.PPO("MlpPolicy", "CartPole-v1", **{**ON, **settings})


def _sac(**settings: Any) -> Any:
    return sb3.SAC("MlpPolicy", "Pendulum-v1", **{**OFF, **settings})


def _with(model: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


OWN: dict[str, Callable[[], Any]] = {
    "extractor": lambda: _ppo(policy_kwargs={"features_extractor_class": Extractor}),
    "extractor-sac": lambda: _sac(
        policy_kwargs={
            "features_extractor_class": Extractor,
            "features_extractor_kwargs": {"features_dim": 4},
        }
    ),
    "policy": lambda: sb3.PPO(Policy, "CartPole-v1", **ON),
    "activation": lambda: _ppo(policy_kwargs={"activation_fn": Swish}),
    "optimizer": lambda: _ppo(policy_kwargs={"optimizer_class": Clipped}),
    "buffer": lambda: _sac(replay_buffer_class=OwnBuffer),
    "closure": lambda: _ppo(learning_rate=linear(3e-4)),
    "cosine": lambda: _ppo(learning_rate=cosine(3e-4)),
    "lambda": lambda: _ppo(learning_rate=lambda p: 3e-4 * p, clip_range=lambda p: max(0.1, p / 5)),
    "function": lambda: _sac(learning_rate=step),
    "object": lambda: _ppo(learning_rate=Warmup(3e-4)),
    "numpy": lambda: _ppo(learning_rate=lambda p: float(np.clip(p, 1e-5, 3e-4))),
    "config": lambda: _with(_ppo(), config=Config(), point=Point(1.0, 2.0), mode=Mode.EVAL),
    "candle": lambda: _with(_ppo(), candle=Candle(), opener=Candle().open),
    "compiled": lambda: _with(_ppo(), compiler=lambda net: th.compile(net.eval())),
    "path": lambda: _with(
        _ppo(), where=lambda name: os.path.join("runs", name), folder=Path("runs")
    ),
}


def write_own(folder: Path) -> None:
    """Agents with code of a user's own, and files beside."""
    for name, make in OWN.items():
        model = make()
        model.learn(20)
        model.save(folder / f"{name}.zip")
        if getattr(model, "replay_buffer", None) is not None:
            model.save_replay_buffer(folder / f"{name}_replay_buffer.pkl")
    agent = {
        "actor": th.nn.Linear(2, 2).state_dict(),
        "config": Config(),
        "mode": Mode.TRAIN,
        "point": Point(1.0, 2.0),
        "total_steps": 8000,
    }
    th.save(agent, folder / "agent.pt")
    th.save(th.nn.Sequential(th.nn.Linear(2, 2), Swish()), folder / "module.pt")
    for protocol in range(2, 6):
        (folder / f"config-{protocol}.pkl").write_bytes(pickle.dumps(Config(), protocol))


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for part, write in (("sb3", write_sb3), ("own", write_own)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        write(folder / part)


if __name__ == "__main__":
    sys.exit(main())
