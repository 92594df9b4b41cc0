"""Networks of a checkpoint at work: the observations they are given, and what comes out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import sacdoctor
from sacdoctor.errors import SacdoctorError
from tests.agents import ALGORITHMS, DISCRETE, OBSERVATIONS, TinyEnv, train
from tests.replay_buffers import KINDS, of_kind

pytestmark = pytest.mark.slow

gym.register("Tiny-v0", lambda: TinyEnv(OBSERVATIONS["Mlp"], False))
gym.register("TinyOfChoices-v0", lambda: TinyEnv(OBSERVATIONS["Mlp"], True))


def saved(model: Any, folder: Path) -> Path:
    model.save(folder / "model.zip")
    return folder / "model.zip"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_works_in_its_environment(name: str, tmp_path: Path) -> None:
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    path = saved(train(name, policy), tmp_path)
    env = "TinyOfChoices-v0" if name in DISCRETE else "Tiny-v0"
    report = sacdoctor.probe(path, env=env, count=130)
    assert (report.algorithm, report.source, report.count) == (name, "environment", 130)
    actor = report.networks[0]
    assert actor.layers and actor.actions is not None
    assert report == sacdoctor.probe(path, env=env, count=130)  # it is seeded


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_buffer_is_worked_on(kind: str, tmp_path: Path) -> None:
    run = of_kind(kind)
    file = run.save(tmp_path)
    report = sacdoctor.probe(tmp_path / "model.zip")
    critic = next(network for network in report.networks if network.name == "critic").values
    assert (report.source, report.name) == ("buffer", str(file))
    assert critic is not None and critic.residual is not None and critic.largest is not None


def test_values_are_compared_with_the_targets_that_sac_learns(tmp_path: Path) -> None:
    """By hand from the buffer's arrays, but for the draw of the next action."""
    run = of_kind("plain")
    run.save(tmp_path)
    report = sacdoctor.probe(tmp_path / "model.zip")
    found = {network.name: network.values for network in report.networks}["critic"]
    model: Any = run.model
    buffer = run.buffer
    rows = slice(0, buffer.pos)
    observed, following = (
        torch.as_tensor(array[rows, 0]) for array in (buffer.observations, buffer.next_observations)
    )
    alpha = model.log_ent_coef.exp()
    with torch.no_grad():
        values = torch.stack(model.critic(observed, torch.as_tensor(buffer.actions[rows, 0])))[
            ..., 0
        ]
        draws = []
        for _ in range(50):
            action, likelihood = model.actor.action_log_prob(following)
            later = torch.cat(model.critic_target(following, action), dim=1).amin(dim=1)
            draws.append(later - alpha * likelihood)
        ends = torch.as_tensor(buffer.dones[rows, 0] * (1 - buffer.timeouts[rows, 0]))
        rewards = torch.as_tensor(buffer.rewards[rows, 0])
        target = rewards + model.gamma * (1 - ends) * torch.stack(draws).mean(dim=0)
    assert found is not None
    assert found.mean == pytest.approx(float(values.mean()), rel=1e-5)
    residual = float((values.mean(dim=0) - target).abs().mean() / target.abs().mean())
    assert found.residual == pytest.approx(residual, rel=0.1)
    assert found.largest is not None
    assert found.largest >= float(rewards.abs().max()) / (1 - model.gamma)
    assert found.equals_target is False


def test_sensitivity_is_that_of_a_small_step(tmp_path: Path) -> None:
    model = train("SAC", "MlpPolicy")
    x = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    report = sacdoctor.probe(saved(model, tmp_path), observations=tmp_path / "x.npy")
    actions = report.networks[0].actions
    assert actions is not None
    step = 1e-3
    for i, found in enumerate(actions.sensitivity):
        moved = x.copy()
        moved[:, i] += step
        with torch.no_grad():
            change = [
                model.actor(torch.as_tensor(one), deterministic=True).numpy() for one in (moved, x)
            ]
        slope = np.linalg.norm((change[0] - change[1]) / step, axis=1).mean()
        assert found == pytest.approx(float(slope * x[:, i].std()), rel=0.03)


def test_the_last_observation_alone_is_too_little_to_judge_by(tmp_path: Path) -> None:
    report = sacdoctor.probe(saved(train("PPO", "MlpPolicy"), tmp_path))
    assert (report.source, report.count, report.status) == ("checkpoint", 1, "unknown")
    assert "too few to judge by" in report.notes[-1]
    assert not report.findings


def normalised(folder: Path) -> Path:
    """PPO trained under `VecNormalize`, whose statistics lie beside it."""

    class Far(gym.ObservationWrapper[Any, Any, Any]):
        def __init__(self) -> None:
            super().__init__(TinyEnv(OBSERVATIONS["Mlp"], False))
            self.observation_space = gym.spaces.Box(900.0, 1100.0, (3,))

        def observation(self, observation: Any) -> Any:
            return (1000.0 + 50.0 * observation).astype(np.float32)

    if "Far-v0" not in gym.registry:
        gym.register("Far-v0", Far)
    env = VecNormalize(DummyVecEnv([Far]))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=32, seed=0, device="cpu").learn(256)
    env.save(str(folder / "model_vecnormalize.pkl"))
    return saved(model, folder)


def test_statistics_beside_the_model_are_applied(tmp_path: Path) -> None:
    path = normalised(tmp_path)
    report = sacdoctor.probe(path, env="Far-v0", count=200)
    layer = report.networks[0].layers[0]
    assert layer.saturated == 0
    assert any("normalised by" in note for note in report.notes)
    assert "SD801" not in {finding.rule for finding in report.findings}


def test_without_the_statistics_that_is_what_is_said(tmp_path: Path) -> None:
    path = normalised(tmp_path)
    (tmp_path / "model_vecnormalize.pkl").unlink()
    report = sacdoctor.probe(path, env="Far-v0", count=200)
    layer = report.networks[0].layers[0]
    assert layer.saturated is not None
    assert layer.saturated > 0.9 * layer.units  # Tanh, given 1,000
    assert [finding.rule for finding in report.findings] == ["SD801"]


def test_observations_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = saved(train("PPO", "MlpPolicy"), tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((5, 4), np.float32))
    with pytest.raises(SacdoctorError, match=r"x\.npy: .*\(4,\), and the model takes \(3,\)"):
        sacdoctor.probe(path, observations=tmp_path / "x.npy")


def test_an_environment_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = saved(train("PPO", "MlpPolicy"), tmp_path)
    with pytest.raises(SacdoctorError, match="CartPole-v1 is not what the model was made for"):
        sacdoctor.probe(path, env="CartPole-v1")
    with pytest.raises(SacdoctorError, match="there is no environment 'Nowhere-v7'"):
        sacdoctor.probe(path, env="Nowhere-v7")


def test_a_file_of_pickled_objects_is_refused_unread(tmp_path: Path) -> None:
    path = saved(train("PPO", "MlpPolicy"), tmp_path)
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(SacdoctorError, match="it holds Python objects"):
        sacdoctor.probe(path, observations=tmp_path / "x.npy")


def test_a_buffer_of_ones_own_is_worked_on(tmp_path: Path) -> None:
    """Its actions are those of the environment; SB3's critics take them from −1 to 1."""
    model = SAC(
        "MlpPolicy",
        gym.make("Pendulum-v1"),
        learning_starts=50,
        policy_kwargs={"net_arch": [8]},
        seed=0,
        device="cpu",
    ).learn(200)
    path = saved(model, tmp_path)
    model.save_replay_buffer(tmp_path / "theirs.pkl")
    buffer = model.replay_buffer
    assert buffer is not None
    rows = slice(0, buffer.pos)
    np.savez(
        tmp_path / "own.npz",
        states=buffer.observations[rows, 0],
        next_states=buffer.next_observations[rows, 0],
        actions=2.0 * buffer.actions[rows, 0],
        rewards=buffer.rewards[rows, 0],
        dones=np.zeros(buffer.pos, np.bool_),
    )
    theirs, own = (
        sacdoctor.probe(path, buffer=tmp_path / name).networks[1].values
        for name in ("theirs.pkl", "own.npz")
    )
    assert theirs is not None and own is not None
    assert own.mean == pytest.approx(theirs.mean, rel=1e-6)


def test_the_files_are_left_as_they_were(tmp_path: Path) -> None:
    of_kind("plain").save(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "before")
    sacdoctor.probe(tmp_path / "model.zip")
    for file in (tmp_path / "before").iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_rows_of_a_large_file_are_read_where_they_stand(tmp_path: Path) -> None:
    """Beyond 8 MiB a file is no longer read whole."""
    path = saved(train("PPO", "MlpPolicy"), tmp_path)
    x = np.zeros((1_000_000, 3), np.float32)
    x[::2] = 1.0
    np.save(tmp_path / "x.npy", x)
    report = sacdoctor.probe(path, observations=tmp_path / "x.npy", count=1000)
    np.savez(tmp_path / "x.npz", observations=x)
    same = sacdoctor.probe(path, observations=tmp_path / "x.npz", count=1000)
    actions = report.networks[0].actions
    assert report.count == 1000
    assert actions is not None and min(actions.spread) > 0.0
    assert report.networks == same.networks
