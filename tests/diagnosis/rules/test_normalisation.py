"""SD801 and SD802: statistics of `VecNormalize` that are missing, or are not the agent's."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from fixtures.faulty_runs import (
    NORMALISED,
    lose_statistics,
    make_statistics_anew,
    pendulum,
    shift_statistics,
    train_normalised,
)
from sacdoctor import read_history, scan
from sacdoctor.model import Finding
from tests.kept import Kept

each_algorithm = pytest.mark.parametrize("algorithm", NORMALISED, ids=lambda cls: cls.__name__)


@pytest.fixture
def run(kept: Kept, tmp_path: Path) -> Any:
    def copy(algorithm: type[BaseAlgorithm], **normalising: Any) -> Path:
        name = "_".join(["normalised", algorithm.__name__, *map(str, normalising.values())])
        kept_run = kept(name, lambda folder: train_normalised(folder, algorithm, **normalising))
        return Path(shutil.copytree(kept_run, tmp_path / "runs" / name))

    return copy


def found(path: Path) -> list[Finding]:
    return [f for f in scan(path).findings if f.rule in ("SD801", "SD802")]


def saved(run: Path, name: str = "model_vecnormalize.pkl") -> VecNormalize:
    return VecNormalize.load(str(run / name), pendulum())


@each_algorithm
def test_statistics_saved_with_the_agent_fit(run: Any, algorithm: type[BaseAlgorithm]) -> None:
    folder = run(algorithm)
    for checkpoint in folder.glob("*.zip"):
        assert found(checkpoint) == []
    assert not {o.rule for r in read_history(folder).runs for o in r.onsets} & {"SD801", "SD802"}


@each_algorithm
def test_missing_statistics_are_a_notice_of_a_file(
    run: Any, algorithm: type[BaseAlgorithm]
) -> None:
    folder = run(algorithm)
    lose_statistics(folder)
    told = [f for path in folder.glob("*.zip") for f in found(path)]
    assert {f.rule for f in told} == {"SD801"}
    assert {(f.severity, f.in_passing) for f in told} == {("notice", True)}


@each_algorithm
def test_and_a_notice_of_a_run(run: Any, algorithm: type[BaseAlgorithm]) -> None:
    folder = run(algorithm)
    lose_statistics(folder)
    onsets = [o for r in read_history(folder).runs for o in r.onsets if o.rule == "SD801"]
    assert {onset.severity for onset in onsets} == {"notice"}


@pytest.mark.parametrize("place", ["model/vecnormalize.pkl", "../vecnormalize.pkl", "stats.pkl"])
def test_they_are_found_where_people_put_them(run: Any, place: str) -> None:
    folder = run(PPO)
    old = folder / "model_vecnormalize.pkl"
    for path in folder.glob("rl_model*"):
        path.unlink()
    (folder / place).parent.mkdir(exist_ok=True)
    old.rename(folder / place)
    assert found(folder / "model.zip") == []


@pytest.mark.parametrize("algorithm", [SAC, TD3], ids=lambda cls: cls.__name__)
def test_statistics_of_another_run_do_not_fit(run: Any, algorithm: type[BaseAlgorithm]) -> None:
    """A fifth of a deviation away, by as many steps: nothing that an eye would see."""
    folder = run(algorithm)
    shift_statistics(folder)
    env = saved(folder)
    agent = algorithm.load(folder / "model.zip")
    assert np.abs(env.normalize_obs(agent._last_original_obs) - agent._last_obs).max() > 0.19
    (told,) = found(folder / "model.zip")
    assert (told.rule, told.severity) == ("SD802", "warning")
    assert "do not fit" in told.message


@each_algorithm
def test_fresh_statistics(run: Any, algorithm: type[BaseAlgorithm]) -> None:
    folder = run(algorithm)
    make_statistics_anew(folder)
    (told,) = found(folder / "model.zip")
    assert told.rule == "SD802"
    assert "have not seen an observation" in told.message


@each_algorithm
def test_variance_that_is_near_0(run: Any, algorithm: type[BaseAlgorithm]) -> None:
    folder = run(algorithm)
    env = saved(folder)
    env.obs_rms.var[:] = 1e-5
    env.save(str(folder / "model_vecnormalize.pkl"))
    (told,) = found(folder / "model.zip")
    assert told.rule == "SD802"


@each_algorithm
def test_clipping_at_a_hundredth(run: Any, algorithm: type[BaseAlgorithm]) -> None:
    (told,) = found(run(algorithm, clip_obs=0.01) / "model.zip")
    assert told.rule == "SD802"
    assert "0.01" in told.message


@each_algorithm
def test_statistics_of_other_observations(run: Any, algorithm: type[BaseAlgorithm]) -> None:
    folder = run(algorithm)
    VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")])).save(
        str(folder / "model_vecnormalize.pkl")
    )
    (told,) = found(folder / "model.zip")
    assert told.rule == "SD802"
    assert "other observations" in told.message


def test_rewards_alone_need_no_statistics_of_observations(run: Any) -> None:
    assert found(run(SAC, norm_obs=False) / "model.zip") == []
    assert found(run(PPO, norm_obs=False) / "model.zip") == []


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [SAC, PPO], ids=lambda cls: cls.__name__)
def test_an_agent_without_vec_normalize_is_not_asked_for_any(
    tmp_path: Path, algorithm: type[BaseAlgorithm]
) -> None:
    model = algorithm(
        "MlpPolicy", gym.make("Pendulum-v1"), **deepcopy(NORMALISED[algorithm])
    ).learn(600)
    model.save(tmp_path / "model.zip")
    assert found(tmp_path / "model.zip") == []
