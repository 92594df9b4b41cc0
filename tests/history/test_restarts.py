"""SD804: schedules that began anew with a call of `learn()` that went on with a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.utils import LinearSchedule

from sacdoctor import read_history
from sacdoctor.model import Finding
from tests.agents import VECTOR, TinyEnv

pytestmark = pytest.mark.slow

STEPS = 400
ALGORITHMS: dict[str, tuple[type[BaseAlgorithm], dict[str, Any]]] = {
    "DQN": (DQN, {"learning_starts": 20, "exploration_fraction": 0.5, "buffer_size": 500}),
    "SAC": (SAC, {"learning_starts": 100, "batch_size": 8, "buffer_size": 500}),
    "PPO": (PPO, {"n_steps": 50, "batch_size": 25, "n_epochs": 1}),
}


def resumed(folder: Path, name: str, *, reset: bool, **options: Any) -> list[Finding]:
    """Train, load and train on as many steps; return what SD804 says of the run."""
    algorithm, settings = ALGORITHMS[name]
    settings = {"policy_kwargs": {"net_arch": [8]}, "seed": 0, **settings, **options}
    env = TinyEnv(VECTOR, discrete=name == "DQN")
    first = algorithm("MlpPolicy", env, device="cpu", **settings)
    first.learn(STEPS, callback=CheckpointCallback(STEPS // 4, str(folder / "first")))
    second = algorithm.load(folder / f"first/rl_model_{STEPS}_steps.zip", env=env, device="cpu")
    second.learn(
        STEPS,
        reset_num_timesteps=reset,
        callback=CheckpointCallback(STEPS // 4, str(folder / "second")),
    )
    (run,) = read_history(folder).runs
    return [finding for finding in run.findings if finding.rule == "SD804"]


def test_exploration_of_dqn(tmp_path: Path) -> None:
    """From 0.05, its end, to 1 - 0.95 · 99 ÷ 200: SB3 saves before it sets that of a step."""
    (told,) = resumed(tmp_path, "DQN", reset=True)
    assert told.severity == "warning"
    assert "exploration began anew, from 0.05 to 0.53," in told.message
    assert "between 400 and 500 steps" in told.message


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_rate_of_a_linear_schedule(tmp_path: Path, name: str) -> None:
    rate = LinearSchedule(3e-4, 3e-6, 1.0)
    (told,) = resumed(tmp_path, name, reset=True, learning_rate=rate)
    assert told.severity == "warning"
    assert "the learning rate began anew" in told.message


def test_random_actions_once_more(tmp_path: Path) -> None:
    (told,) = resumed(tmp_path, "SAC", reset=True)
    assert told.severity == "notice"
    assert "at random for 100 steps once more" in told.message


def test_a_constant_rate_on_policy_has_nothing_to_restart(tmp_path: Path) -> None:
    assert resumed(tmp_path, "PPO", reset=True) == []


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
def test_going_on_with_the_count_is_no_restart(tmp_path: Path, name: str) -> None:
    assert resumed(tmp_path, name, reset=False) == []
