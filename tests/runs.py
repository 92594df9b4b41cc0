"""Whole trainings in small: checkpoints every 100 steps and SB3's logs, with a fault at a step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from fixtures.faulty_policies import BranchedExtractor, LateActorCriticPolicy
from fixtures.faulty_runs import At, freeze_actor, rebuild_critic
from fixtures.faulty_training import strip_optimizers as strip_file
from tests.agents import VECTOR, TinyEnv
from tests.kept import Kept

EVERY = 100
"""Steps between two checkpoints."""
STEPS = 1_000
EPISODE = 10
"""Steps in an episode of `TinyEnv`."""
CRASH = 60
"""The first episode (the first of all is 0) in which the degrading environment punishes."""
FAULT = 450
"""The step at which a fault is brought in."""
DEAD = "actor.latent_pi.0.bias"


class _Degrading(TinyEnv):
    """Every step costs 10 more from episode `crash` on."""

    def __init__(self, crash: int | None) -> None:
        super().__init__(VECTOR, discrete=False)
        self._crash = crash
        self._episode = -1

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self._episode += 1
        return super().reset(**options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, *rest = super().step(action)
        if self._crash is not None and self._episode >= self._crash:
            reward -= 10.0
        return observation, reward, *rest  # type: ignore[return-value]


def _kill_bias(model: SAC) -> None:
    bias = model.actor.latent_pi[0].bias
    with th.no_grad():
        bias.zero_()
    bias.requires_grad_(False)


def _make_nan(model: SAC) -> None:
    with th.no_grad():
        model.critic.qf0[0].weight[0, 0] = th.nan


def _raise_rate(model: BaseAlgorithm) -> None:
    model.lr_schedule = lambda _: 5e-3


def _freeze_branch(model: PPO) -> None:
    model.policy.features_extractor.branch.requires_grad_(False)


class _TargetLeftBehind(SAC):
    """Its targets are updated from themselves, as with `polyak_update`'s arguments swapped."""

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        target = {name: value.clone() for name, value in self.critic_target.state_dict().items()}
        super().train(gradient_steps, batch_size)
        self.critic_target.load_state_dict(target)


def _branch(use: str, **options: Any) -> dict[str, Any]:
    """Settings of a policy whose features extractor has a branch, `branch.0` and `branch.2`.

    SB3's `ortho_init` starts all biases at 0, PyTorch's own initialisation does not.
    """
    sizes = {"branch": use, "trunk_sizes": (8,), "branch_sizes": (4, 3)}
    return {
        "policy_kwargs": {
            "net_arch": [16],
            "features_extractor_class": BranchedExtractor,
            "features_extractor_kwargs": sizes,
            **options,
        }
    }


def train(
    folder: Path,
    algorithm: type[BaseAlgorithm] = SAC,
    policy: Any = "MlpPolicy",
    *,
    fault: Callable[[Any], None] | None = None,
    at: int = FAULT,
    crash: int | None = None,
    logs: tuple[str, ...] = ("csv",),
    monitor: bool = True,
    **options: Any,
) -> Path:
    """Train for `STEPS` steps and return the folder with what SB3 left there."""
    env = Monitor(_Degrading(crash), str(folder / "monitor.csv") if monitor else None)
    settings: dict[str, Any] = {"learning_starts": 100, "batch_size": 16, "train_freq": 4}
    if algorithm is PPO:
        settings = {"n_steps": 50, "batch_size": 25, "n_epochs": 2}
    settings |= {"policy_kwargs": {"net_arch": [16]}, **options}
    model = algorithm(policy, env, seed=1, device="cpu", **settings)
    model.set_logger(configure(str(folder), list(logs)))
    callbacks: list[BaseCallback] = [CheckpointCallback(EVERY, str(folder))]
    if fault is not None:
        callbacks.insert(0, At(at, fault))
    if algorithm is PPO:
        model.save(folder / "rl_model_0_steps.zip")
    model.learn(STEPS, callback=CallbackList(callbacks), log_interval=1)
    env.close()
    model.logger.close()
    return folder


def strip_optimizers(folder: Path, *names: str) -> None:
    """Remove the optimizers' state from checkpoints: all of the folder, or those named."""
    for path in [folder / name for name in names] or list(folder.glob("*.zip")):
        strip_file(path)


_KINDS: dict[str, dict[str, Any]] = {
    "healthy SAC": {},
    "healthy PPO": {"algorithm": PPO},
    "dead bias": {"fault": _kill_bias},
    "frozen actor": {"fault": freeze_actor},
    "frozen critic": {"algorithm": TD3, "fault": rebuild_critic},
    "target left behind": {"algorithm": _TargetLeftBehind},
    "healthy TD3": {"algorithm": TD3},
    "nan": {"fault": _make_nan, "at": STEPS},
    "crash": {"fault": _raise_rate, "at": 10 * CRASH - 15, "crash": CRASH},
    "tensorboard": {"algorithm": PPO, "logs": ("tensorboard",), "monitor": False},
    "late layers": {"algorithm": PPO, "policy": LateActorCriticPolicy, **_branch("late")},
    "frozen": {
        "algorithm": PPO,
        **_branch("used", ortho_init=False),
        "fault": _freeze_branch,
        "at": 1,
    },
}


class Runs:
    """Runs by their kind; a test that changes files takes a copy."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def __call__(self, kind: str) -> Path:
        return self._kept(kind.replace(" ", "_"), lambda folder: train(folder, **_KINDS[kind]))

    def copy(self, kind: str, folder: Path) -> Path:
        """A copy of a run in `folder`, which must not exist yet."""
        return Path(shutil.copytree(self(kind), folder))
