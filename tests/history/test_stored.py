"""SD803: replay buffers that lack transitions which the agent has had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env

from sacdoctor import read_history
from sacdoctor.model import Finding
from tests.agents import VECTOR, TinyEnv

pytestmark = pytest.mark.slow

STEPS = 300
each_algorithm = pytest.mark.parametrize("algorithm", [SAC, TD3, DQN], ids=lambda cls: cls.__name__)


def resumed(
    folder: Path,
    algorithm: type[BaseAlgorithm],
    more: int,
    *,
    loads: bool = False,
    reset: bool = False,
    room: int = 1_000,
    environments: int = 1,
) -> list[Finding]:
    """Train, load and train `more`, saved with its buffer; return what SD803 says of the run."""
    settings: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "batch_size": 8, "seed": 0}
    env = make_vec_env(lambda: TinyEnv(VECTOR, algorithm is DQN), environments)
    model: Any = algorithm(
        "MlpPolicy", env, buffer_size=room, learning_starts=20, device="cpu", **settings
    )
    model.learn(STEPS).save(folder / "rl_model_1_steps.zip")
    model.save_replay_buffer(folder / "kept.pkl")
    again: Any = algorithm.load(folder / "rl_model_1_steps.zip", env=env, device="cpu")
    if loads:
        again.load_replay_buffer(folder / "kept.pkl")
    (folder / "kept.pkl").unlink()
    again.learn(more, reset_num_timesteps=reset).save(folder / "rl_model_2_steps.zip")
    again.save_replay_buffer(folder / "rl_model_replay_buffer_2_steps.pkl")
    (run,) = read_history(folder).runs
    return [finding for finding in run.findings if finding.rule == "SD803"]


@each_algorithm
def test_resumed_without_its_transitions(tmp_path: Path, algorithm: type[BaseAlgorithm]) -> None:
    (told,) = resumed(tmp_path, algorithm, 100)
    assert told.severity == "warning"
    assert told.message == "the replay buffer lacks 300 of 400 transitions"
    assert "holds 100 with room for 1,000, after 400 steps" in told.evidence


def test_less_than_half_is_a_notice(tmp_path: Path) -> None:
    (told,) = resumed(tmp_path, SAC, 400)
    assert told.severity == "notice"


def test_a_count_that_began_anew_hides_nothing(tmp_path: Path) -> None:
    (told,) = resumed(tmp_path, SAC, 200, reset=True)
    assert told.message == "the replay buffer lacks 300 of 500 transitions"


@each_algorithm
def test_resumed_with_its_transitions(tmp_path: Path, algorithm: type[BaseAlgorithm]) -> None:
    assert resumed(tmp_path, algorithm, 100, loads=True) == []


def test_a_full_buffer_has_forgotten_the_oldest_in_any_case(tmp_path: Path) -> None:
    assert resumed(tmp_path, SAC, 150, room=100) == []


def test_transitions_of_several_environments_count_each(tmp_path: Path) -> None:
    assert resumed(tmp_path, SAC, 100, loads=True, environments=4) == []
