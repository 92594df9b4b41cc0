"""Whether anything at warning or worse is said of healthy trainings: the false alarms.

Trains every algorithm of SB3 and sb3-contrib on small tasks, with rl-zoo's tuned settings where it
has some, with Tanh and ReLU, images, dicts and LSTMs, three seeds each; then lets `scan` look at
every checkpoint, `history` at every run, and `fix-config` at every model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from rich.console import Console
from rich.table import Table
from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize
from torch import nn

from sacdoctor import ScanOptions, Severity
from sacdoctor.fleet import Look, find_checkpoints, reports_on
from sacdoctor.history import read_history
from sacdoctor.settings.fix_config import fix_config

SEEDS = (0, 1, 2)
_WORST_ALLOWED = Severity.NOTICE


# -- tasks -------------------------------------------------------------------------------------


class Catch(gym.Env[Any, Any]):
    """A ball that bounces, and a bar that catches it: images as small or as large as asked for."""

    def __init__(self, size: int, *, continuous: bool = False) -> None:
        self.size, self.unit = size, size // 12
        self.observation_space = gym.spaces.Box(0, 255, (size, size, 1), np.uint8)
        self.action_space = (
            gym.spaces.Box(-1.0, 1.0, (1,)) if continuous else gym.spaces.Discrete(3)
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.ball = np.array([0.0, self.np_random.uniform(0, self.size - self.unit)])
        self.speed = np.array([1.0, self.np_random.uniform(-1.0, 1.0)]) * self.unit / 2
        self.bar, self.steps = self.size / 2, 0
        return self._image(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        is_number = isinstance(self.action_space, gym.spaces.Discrete)
        move = float(action) - 1.0 if is_number else float(action[0])
        self.bar = float(np.clip(self.bar + move * self.unit, 0, self.size - 2 * self.unit))
        self.ball += self.speed
        self.steps += 1
        if not 0 <= self.ball[1] <= self.size - self.unit:
            self.speed[1] *= -1
        if self.ball[0] <= 0:
            self.speed[0] = abs(self.speed[0])
        reward, missed = 0.0, False
        if self.ball[0] >= self.size - 2 * self.unit:
            missed = not -self.unit <= self.ball[1] - self.bar <= 2 * self.unit
            reward = -1.0 if missed else 1.0
            self.speed[0] = -abs(self.speed[0])
        self.ball = np.clip(self.ball, 0, self.size - self.unit)
        return self._image(), reward, missed, self.steps >= 500, {}

    def _image(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        image = np.zeros((self.size, self.size, 1), np.uint8)
        row, column = (int(place) for place in self.ball)
        image[row : row + self.unit, column : column + self.unit] = 236
        image[-self.unit :, int(self.bar) : int(self.bar) + 2 * self.unit] = 200
        return image


class InTwoParts(gym.ObservationWrapper[Any, Any, Any]):
    """Observations as a dict of their first two numbers and the others."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        box = env.observation_space
        assert isinstance(box, gym.spaces.Box)
        parts = {"first": slice(0, 2), "others": slice(2, None)}
        self._parts = parts
        self.observation_space = gym.spaces.Dict(
            {name: gym.spaces.Box(box.low[part], box.high[part]) for name, part in parts.items()}
        )

    def observation(self, observation: Any) -> dict[str, Any]:
        return {name: observation[part] for name, part in self._parts.items()}


class AllAllowed(gym.Wrapper[Any, Any, Any, Any]):
    """Every action is allowed, as MaskablePPO wants to be told."""

    def action_masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        assert isinstance(self.action_space, gym.spaces.Discrete)
        return np.ones(self.action_space.n, dtype=np.bool_)


def _cart() -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1")


def _pendulum() -> gym.Env[Any, Any]:
    return gym.make("Pendulum-v1")


# -- trainings ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """One kind of training. `options` are the constructor's.

    `checkpoints` are spread evenly; the first comes behind the first update, since one before it
    is untrained and has to be called so.
    """

    name: str
    algorithm: type[BaseAlgorithm]
    env: Callable[[], gym.Env[Any, Any]]
    steps: int
    policy: str = "MlpPolicy"
    n_envs: int = 1
    wrap: Callable[[VecEnv], VecEnv] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    checkpoints: int = 4

    def run(self, folder: Path, seed: int) -> None:
        """Train it and leave checkpoints, logs and monitors in `folder`."""
        folder.mkdir(parents=True)
        envs: VecEnv = DummyVecEnv(
            [lambda n=n: Monitor(self.env(), str(folder / str(n))) for n in range(self.n_envs)]
        )
        envs = envs if self.wrap is None else self.wrap(envs)
        model = self.algorithm(self.policy, envs, seed=seed, device="cpu", **self.options)
        model.set_logger(configure(str(folder), ["csv"]))
        every = max(1, self.steps // self.checkpoints // self.n_envs)
        saving = CheckpointCallback(every, str(folder), save_vecnormalize=True)
        model.learn(self.steps, callback=saving)
        model.save(folder / "model.zip")
        model.logger.close()
        envs.close()


def _zoo_cart_ppo() -> dict[str, Any]:
    """rl-zoo's ppo.yml, CartPole-v1."""
    return {
        **{"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20},
        "learning_rate": lambda progress: progress * 1e-3,
        "clip_range": lambda progress: progress * 0.2,
    }


def _zoo_atari_ppo() -> dict[str, Any]:
    """rl-zoo's ppo.yml, atari."""
    return {
        **{"n_steps": 128, "n_epochs": 4, "batch_size": 256, "vf_coef": 0.5, "ent_coef": 0.01},
        "learning_rate": lambda progress: progress * 2.5e-4,
        "clip_range": lambda progress: progress * 0.1,
    }


def _zoo_atari_a2c() -> dict[str, Any]:
    """rl-zoo's a2c.yml, atari."""
    kwargs = {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": 1e-5}}
    return {"ent_coef": 0.01, "vf_coef": 0.25, "policy_kwargs": kwargs}


_ZOO_CART_DQN: dict[str, Any] = {
    # rl-zoo's dqn.yml and qrdqn.yml, CartPole-v1
    **{"learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "gamma": 0.99},
    **{"learning_starts": 1000, "target_update_interval": 10, "train_freq": 256},
    **{"gradient_steps": 128, "exploration_fraction": 0.16, "exploration_final_eps": 0.04},
}
_ZOO_PENDULUM_TD3: dict[str, Any] = {
    # rl-zoo's td3.yml and ddpg.yml, Pendulum-v1
    **{"gamma": 0.98, "buffer_size": 200_000, "learning_starts": 1000, "learning_rate": 1e-3},
    "action_noise": NormalActionNoise(np.zeros(1), 0.1 * np.ones(1)),
    "policy_kwargs": {"net_arch": [400, 300]},
}
_ZOO_CAR_SAC: dict[str, Any] = {
    # rl-zoo's sac.yml, MountainCarContinuous-v0
    **{"learning_rate": 3e-4, "buffer_size": 50_000, "batch_size": 512, "ent_coef": 0.1},
    **{"train_freq": 32, "gradient_steps": 32, "gamma": 0.9999, "tau": 0.01},
    **{"learning_starts": 0, "use_sde": True},
    "policy_kwargs": {"log_std_init": -3.67, "net_arch": [64, 64]},
}


def trainings() -> Iterator[Training]:
    """Yield every kind of training."""
    for word, activation in (("tanh", nn.Tanh), ("relu", nn.ReLU)):
        kwargs = {"policy_kwargs": {"activation_fn": activation}}
        for algorithm in (PPO, TRPO):
            options = {"n_steps": 512, **kwargs}
            name = f"{algorithm.__name__.lower()}_{word}"
            yield Training(name, algorithm, _cart, 12_000, options=options)
        yield Training(f"a2c_{word}", A2C, _cart, 12_000, options=kwargs)
        masked = {"n_steps": 256, **kwargs}
        yield Training(
            f"maskableppo_{word}", MaskablePPO, lambda: AllAllowed(_cart()), 6000, options=masked
        )
        yield Training(
            f"recurrentppo_{word}",
            RecurrentPPO,
            _cart,
            3000,
            policy="MlpLstmPolicy",
            options={"n_steps": 128, "n_epochs": 4, **kwargs},
        )
        wide = {"activation_fn": activation, "net_arch": [256, 1024]}
        yield Training(
            f"ppo_{word}_wide",
            PPO,
            _pendulum,
            4096,
            options={"n_steps": 512, "n_epochs": 2, "policy_kwargs": wide},
        )
        yield Training(f"sac_{word}", SAC, _pendulum, 2500, options=kwargs)
    yield Training("ppo_zoo_cart", PPO, _cart, 20_000, n_envs=8, options=_zoo_cart_ppo())
    short = {"n_steps": 512}
    yield Training(
        "ppo_dict", PPO, lambda: InTwoParts(_cart()), 8000, "MultiInputPolicy", options=short
    )
    yield Training(
        "ppo_normalised", PPO, _pendulum, 8192, n_envs=2, wrap=VecNormalize, options=short
    )
    atari: dict[str, Any] = {
        "policy": "CnnPolicy",
        "n_envs": 8,
        "wrap": lambda envs: VecFrameStack(envs, 4),
        "checkpoints": 2,
    }
    yield Training("ppo_atari", PPO, lambda: Catch(84), 4096, **atari, options=_zoo_atari_ppo())
    yield Training("a2c_atari", A2C, lambda: Catch(84), 4000, **atari, options=_zoo_atari_a2c())
    yield Training("sac_zoo_pendulum", SAC, _pendulum, 2500, options={"learning_rate": 1e-3})
    yield Training(
        "sac_zoo_car", SAC, lambda: gym.make("MountainCarContinuous-v0"), 3000, options=_ZOO_CAR_SAC
    )
    yield Training("sac_dict", SAC, lambda: InTwoParts(_pendulum()), 2000, "MultiInputPolicy")
    for algorithm in (TD3, DDPG):
        yield Training(
            f"{algorithm.__name__.lower()}_zoo_pendulum",
            algorithm,
            _pendulum,
            2500,
            options=_ZOO_PENDULUM_TD3,
            checkpoints=2,
        )
    yield Training("tqc_zoo_pendulum", TQC, _pendulum, 2000, options={"learning_rate": 1e-3})
    yield Training("crossq", CrossQ, _pendulum, 800)
    yield Training("dqn_zoo_cart", DQN, _cart, 15_000, options=_ZOO_CART_DQN)
    yield Training("qrdqn_zoo_cart", QRDQN, _cart, 10_000, options=_ZOO_CART_DQN)
    images = {"buffer_size": 3000, "learning_starts": 300, "target_update_interval": 500}
    yield Training("dqn_cnn", DQN, lambda: Catch(36), 3000, "CnnPolicy", options=images)
    small = {"net_arch": [64, 64], "features_extractor_kwargs": {"features_dim": 64}}
    yield Training(
        "sac_cnn",
        SAC,
        lambda: Catch(36, continuous=True),
        1000,
        "CnnPolicy",
        options={"buffer_size": 2000, "train_freq": 4, "policy_kwargs": small},
    )
    yield Training("ars", ARS, _cart, 20_000, "LinearPolicy")


# -- what is said of them ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something at warning or worse that was said of a healthy training."""

    run: str
    said_by: str
    what: str


def alarms(folder: Path) -> Iterator[Alarm]:
    """Yield what `scan`, `history` and `fix-config` say of one run, at warning or worse."""
    for report in reports_on(find_checkpoints([str(folder)]), Look(ScanOptions())):
        if report.error is not None:
            yield Alarm(folder.name, "scan", report.error)
        for finding in report.findings:
            if finding.severity.rank > _WORST_ALLOWED.rank:
                yield Alarm(folder.name, "scan", f"{finding.rule} {finding.evidence}")
    history = read_history(folder)
    for run in history.runs:
        for finding in run.findings:
            if finding.severity.rank > _WORST_ALLOWED.rank:
                yield Alarm(folder.name, "history", f"{finding.rule} {finding.evidence}")
    for of in history.logged:
        if of.finding.severity.rank > _WORST_ALLOWED.rank:
            yield Alarm(folder.name, "history", f"{of.finding.rule} {of.finding.evidence}")
    for crash in history.crashes:
        fall = f"{crash.before:.4g} -> {crash.after:.4g}"
        yield Alarm(folder.name, "history", f"reward crash at {crash.timesteps:,}: {fall}")
    for change in fix_config(folder / "model.zip").changes:
        yield Alarm(folder.name, "fix-config", f"{change.key}: {change.verdict.message}")


def measure(
    folder: Path, chosen: Iterable[Training], seeds: Iterable[int]
) -> Iterator[tuple[str, list[Alarm]]]:
    """Train what is not there yet, and yield each run with the false alarms about it."""
    seeds = tuple(seeds)
    for training in chosen:
        for seed in seeds:
            run = folder / f"{training.name}_{seed}"
            if not (run / "model.zip").exists():
                training.run(run, seed)
            yield run.name, list(alarms(run))


def main() -> None:
    """Print a row per run; exits with 1 where there was a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="train into this folder, and keep it")
    parser.add_argument("--only", help="trainings whose names contain this")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    console = Console()
    table = Table("run", "false alarms", "what")
    runs = false = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        chosen = [t for t in trainings() if (arguments.only or "") in t.name]
        for name, found in measure(folder, chosen, SEEDS):
            runs, false = runs + 1, false + bool(found)
            console.print(f"{name}: {len(found)}", style="dim")
            table.add_row(name, str(len(found)), "\n".join(f"{a.said_by}: {a.what}" for a in found))
    console.print(table)
    console.print(f"{false} of {runs} healthy trainings are warned about")
    sys.exit(bool(false))


if __name__ == "__main__":
    main()
