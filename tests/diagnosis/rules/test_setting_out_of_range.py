"""SD405: what a scan reads of the settings, pickled ones too, and what it leaves to other rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN as DQN_
from stable_baselines3 import PPO as PPO_
from stable_baselines3 import SAC as SAC_
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.save_util import data_to_json
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule

from sacdoctor import scan
from sacdoctor.diagnosis.rules import rule_of
from tests.diagnosis.handmade import DQN, PPO, SAC, adam, report

TD3 = {"target_noise_clip": 0.5, "num_timesteps": 10_000, "_n_updates": 9_900}


def severities(
    folder: Path, settings: dict[str, Any], optimizers: dict[str, Any] | None = None
) -> list[str]:
    policy = {"actor.mu.bias": th.ones(1), "actor.mu.weight": th.ones(1, 4)}
    made = report(folder, policy, settings, optimizers)
    return [one.severity.value for one in made.findings if one.rule == "SD405"]


def pickled(**data: Any) -> dict[str, Any]:
    saved: dict[str, Any] = json.loads(data_to_json(data))
    return saved


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({**SAC, "gamma": 1.05}, ["critical"]),
        ({**SAC, "gamma": 0.99}, []),
        ({**SAC, "tau": 0.0}, []),  # SD209
        ({**SAC, "target_entropy": 3.0}, ["warning"]),
        ({**PPO, "clip_range": 10.0}, ["warning"]),
        ({**PPO, "gamma": 1.05, "vf_coef": 0.0}, ["critical", "warning"]),
        ({**DQN, "learning_starts": 600, "_total_timesteps": 1000}, ["warning"]),
        ({**DQN, "learning_starts": 500, "_total_timesteps": 1000}, ["warning"]),
        ({**TD3, "learning_starts": 500, "_total_timesteps": 1000}, ["notice"]),  # as rl-zoo's
        ({**SAC, "learning_starts": 100, "_total_timesteps": 200}, ["notice"]),  # SB3's own
        ({**DQN, "learning_starts": 100, "_total_timesteps": 1000}, []),
        ({**DQN, "learning_starts": 600, "_total_timesteps": 1000, "_n_updates": 0}, []),
        ({"gamma": 1.05}, []),
    ],
)
def test_settings_in_the_file(
    tmp_path: Path, settings: dict[str, Any], expected: list[str]
) -> None:
    assert severities(tmp_path, settings) == expected


@pytest.mark.parametrize(
    ("settings", "moves"),
    [
        ({**PPO, "clip_range": 10.0}, True),
        ({**SAC, "gamma": 1.05}, True),
        ({**DQN, "exploration_final_eps": 1.5}, False),
        ({**DQN, "buffer_size": 40, "batch_size": 32}, True),  # learned by heart
        ({**DQN, "learning_starts": 600, "_total_timesteps": 1000}, False),
        ({**TD3, **pickled(action_noise=NormalActionNoise(np.zeros(1), np.full(1, 10.0)))}, False),
    ],
)
def test_what_is_gathered_explains_no_weights_that_ran_away(
    tmp_path: Path, settings: dict[str, Any], moves: bool
) -> None:
    policy = {"actor.mu.bias": th.ones(1), "actor.mu.weight": th.ones(1, 4)}
    found = [f for f in report(tmp_path, policy, settings).findings if f.rule == "SD405"]
    assert found
    for finding in found:
        rules = {symptom.rule for symptom in rule_of(finding).symptoms_of(finding)}
        assert ({"destructive-update", "value-out-of-bounds"} <= rules) is moves


@pytest.mark.parametrize(
    ("interval", "more", "expected"),
    [
        (3_000, {}, ["warning"]),  # 3 copies, as muPRL's 30 % of the run
        (2_000, {}, []),  # 5
        (2_000, {"learning_starts": 4_000}, ["warning"]),  # two of 5 copy what nothing trained
        (3_000, {"gamma": 0.0}, ["notice"]),  # one reward is all that counts
        (3_000, {"tau": 0.5}, []),
        (3_000, {"_total_timesteps": 100_000}, []),
        (3_000, {"_num_timesteps_at_start": 90_000}, []),
    ],
)
def test_a_target_that_is_copied_a_few_times(
    tmp_path: Path, interval: int, more: dict[str, Any], expected: list[str]
) -> None:
    settings = {"target_update_interval": interval, "tau": 1.0, "gamma": 0.99, **more}
    assert severities(tmp_path, {**DQN, **settings}) == expected


@pytest.mark.parametrize(
    ("asked", "updates", "envs", "expected"),
    [
        (1, 9_900, 1, []),
        (10, 49_500, 2, ["notice"]),
        (32, 316_800, 1, ["warning"]),
        (32, 316_800, 32, []),
        (1, 316_800, 1, []),  # resumed: updates went on, timesteps began anew
        (-1, 9_900, 1, []),
    ],
)
def test_updates_for_each_transition(
    tmp_path: Path, asked: int, updates: int, envs: int, expected: list[str]
) -> None:
    settings = {**SAC, "gradient_steps": asked, "_n_updates": updates, "n_envs": envs}
    assert severities(tmp_path, {**settings, "learning_starts": 100}) == expected


def test_a_critic_with_layer_norm_stands_many_updates(tmp_path: Path) -> None:
    settings = {**SAC, "gradient_steps": 32, "_n_updates": 316_800, "learning_starts": 100}
    policy = {"critic.norm.weight": th.ones(4), "critic.norm.bias": th.zeros(4)}
    assert "SD405" not in [one.rule for one in report(tmp_path, policy, settings).findings]


@pytest.mark.parametrize(
    ("algorithm", "layers", "expected"),
    [
        (PPO_, 2, "notice"),  # SB3 makes its weights larger
        (PPO_, 4, "warning"),
        (DQN_, 1, "notice"),
        (DQN_, 2, "warning"),
        (SAC_, 2, "warning"),
    ],
)
def test_sigmoids_in_a_row(tmp_path: Path, algorithm: Any, layers: int, expected: str) -> None:
    kwargs = {"activation_fn": th.nn.Sigmoid, "net_arch": [64] * layers}
    env = "Pendulum-v1" if algorithm is SAC_ else "CartPole-v1"
    model = algorithm("MlpPolicy", env, policy_kwargs=kwargs, device="cpu", seed=0)
    model.save(tmp_path / "m")
    (found,) = [one for one in scan(tmp_path / "m.zip").findings if one.rule == "SD405"]
    assert found.severity.value == expected
    assert f"{layers} in a row" in found.evidence


@pytest.mark.parametrize(
    ("gain", "layers"), [(None, 2), (2**0.5, 2), (2**0.5, 4)], ids=["PyTorch", "SB3", "SB3, deep"]
)
def test_no_more_of_the_inputs_comes_through_than_is_said(gain: float | None, layers: int) -> None:
    """The mechanism, in PyTorch: the share of a small change that leaves the last Sigmoid."""
    th.manual_seed(0)
    linear = [th.nn.Linear(256, 256) for _ in range(layers)]
    for layer in linear if gain is not None else []:
        th.nn.init.orthogonal_(layer.weight, gain)
    network = th.nn.Sequential(*(part for of in linear for part in (of, th.nn.Sigmoid())))
    inputs, change = th.randn(64, 256), 1e-2 * th.randn(64, 256)
    passed = (network(inputs + change) - network(inputs)).norm() / change.norm()
    bound = ((gain or 3**-0.5) / 4) ** layers
    assert 0.5 * bound < float(passed) < 1.05 * bound


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (FloatSchedule(10.0), ["warning"]),
        (FloatSchedule(ConstantSchedule(0.2)), []),
        (FloatSchedule(lambda progress: 10.0), []),
        (_ := (lambda val: lambda _: val)(10.0), ["warning"]),  # as SB3 before 2.7 had it
    ],
    ids=["class", "usual", "another-function", "function"],
)
def test_clip_range_is_read_where_it_is_constant(
    tmp_path: Path, value: Any, expected: list[str]
) -> None:
    assert severities(tmp_path, {**PPO, **pickled(clip_range=value)}) == expected


@pytest.mark.parametrize(("sigma", "expected"), [(0.5, []), (1.0, ["notice"]), (10.0, ["warning"])])
def test_noise_of_the_actions(tmp_path: Path, sigma: float, expected: list[str]) -> None:
    noise = NormalActionNoise(np.zeros(1), np.full(1, sigma))
    assert severities(tmp_path, {**TD3, **pickled(action_noise=noise)}) == expected


@pytest.mark.parametrize(
    ("decay", "optimizer", "expected"),
    [
        (0.0, th.optim.Adam, []),
        (0.01, th.optim.Adam, []),
        (0.1, th.optim.Adam, ["warning"]),
        (0.1, th.optim.AdamW, []),
    ],
)
def test_weight_decay_of_adam(
    tmp_path: Path, decay: float, optimizer: type[th.optim.Optimizer], expected: list[str]
) -> None:
    state = adam([th.ones(1, 4), th.ones(1)])
    state["param_groups"][0]["weight_decay"] = decay
    settings = {**SAC, **pickled(policy_kwargs={"optimizer_class": optimizer})}
    assert severities(tmp_path, settings, {"actor.optimizer": state}) == expected


def test_adam_with_weight_decay_shrinks_weights_that_hardly_have_a_gradient() -> None:
    """The mechanism, in PyTorch: by about the rate per update, as far as to nothing."""
    weight = th.nn.Parameter(th.full((100,), 0.1))
    optimizer = th.optim.Adam([weight], lr=1e-3, weight_decay=0.1)
    for _ in range(100):
        weight.grad = th.randn(100, generator=th.Generator().manual_seed(0)) * 1e-4
        optimizer.step()
    assert weight.abs().max() < 0.03
