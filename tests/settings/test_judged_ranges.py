"""Settings beside the rate: what breaks is a warning, what rl-zoo tuned is a notice at most."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.settings.fix_config import fix_text
from sacdoctor.settings.judged_ranges import RANGED, judge_ranged
from sacdoctor.settings.ranges import BOUNDS
from tests.settings.test_ranges import parameters

Values = dict[str, float]

ZOO: list[tuple[str, str, Values]] = [
    # The most extreme in DLR-RM/rl-baselines3-zoo, hyperparams/*.yml, with what stands beside it.
    ("PPO", "MountainCarContinuous-v0", {"n_steps": 8, "n_envs": 1, "batch_size": 256}),
    ("PPO", "MountainCarContinuous-v0", {"gamma": 0.9999, "gae_lambda": 0.9, "vf_coef": 0.19}),
    (
        "PPO",
        "InvertedPendulum-v2",
        {"n_steps": 32, "n_envs": 1, "batch_size": 64, "clip_range": 0.4},
    ),
    ("PPO", "CartPole-v1", {"gae_lambda": 0.8, "n_epochs": 20, "n_steps": 32, "n_envs": 8}),
    ("PPO", "Pendulum-v1", {"gamma": 0.9}),
    ("PPO", "atari", {"clip_range": 0.1, "ent_coef": 0.01, "n_epochs": 4, "n_steps": 128}),
    ("PPO", "HalfCheetah-v4", {"ent_coef": 0.000401762, "vf_coef": 0.58096, "clip_range": 0.1}),
    (
        "RecurrentPPO",
        "Swimmer-v4",
        {"ent_coef": 7.52585e-08, "vf_coef": 0.950368, "batch_size": 32},
    ),
    ("RecurrentPPO", "BipedalWalker-v3", {"gae_lambda": 1.0, "gamma": 0.999}),
    ("A2C", "default", {"n_steps": 5, "n_envs": 1, "ent_coef": 0.01, "vf_coef": 0.25}),
    ("A2C", "Pendulum-v1", {"gamma": 0.9, "gae_lambda": 0.9, "n_steps": 8, "n_envs": 8}),
    ("TRPO", "Pendulum-v1", {"gamma": 0.9, "n_steps": 1024, "batch_size": 128}),
    ("SAC", "MountainCarContinuous-v0", {"ent_coef": 0.1, "buffer_size": 50000, "batch_size": 512}),
    ("SAC", "MountainCarContinuous-v0", {"tau": 0.01, "gamma": 0.9999}),
    ("SAC", "donkey-generated-track-v0", {"ent_coef": 0.005, "tau": 0.02, "batch_size": 64}),
    ("TQC", "PandaPickAndPlace-v1", {"tau": 0.05, "gamma": 0.95, "batch_size": 2048}),
    ("TD3", "MountainCarContinuous-v0", {"noise_std": 0.5, "batch_size": 256}),
    ("DDPG", "MountainCarContinuous-v0", {"noise_std": 0.5, "buffer_size": 200000}),
    ("CrossQ", "default", {"policy_delay": 3, "gamma": 0.9999}),
    ("DQN", "MountainCar-v0", {"buffer_size": 10000, "batch_size": 128, "tau": 1.0, "gamma": 0.98}),
    ("DQN", "CartPole-v1", {"exploration_final_eps": 0.04, "target_update_interval": 10}),
    ("DQN", "atari", {"exploration_final_eps": 0.01, "batch_size": 32, "tau": 1.0}),
    ("QRDQN", "LunarLander-v3", {"exploration_final_eps": 0.18, "gamma": 0.995}),
]


def judged(algorithm: str, **values: float) -> dict[str, str]:
    return {v.key: v.severity.value for v in judge_ranged(algorithm, values)}


@pytest.mark.parametrize(("algorithm", "environment", "values"), ZOO)
def test_nothing_that_rl_zoo_tuned_is_named(
    algorithm: str, environment: str, values: Values
) -> None:
    assert judged(algorithm, **values) == {}, environment


@pytest.mark.parametrize("name", ALGORITHMS)
def test_sb3s_own_defaults_are_not_named(name: str) -> None:
    defaults = {key: parameter.default for key, parameter in parameters(name).items()}
    numbers = {
        key: float(value)
        for key, value in defaults.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    assert judged(name, **numbers, n_envs=1.0, actions=2.0) == {}


@pytest.mark.parametrize(
    ("algorithm", "values", "expected"),
    [
        ("SAC", {"gamma": 1.05}, {"gamma": "critical"}),
        ("PPO", {"gamma": 1.0}, {}),
        ("DQN", {"gamma": 1.0}, {"gamma": "notice"}),
        ("TD3", {"gamma": 0.45}, {"gamma": "warning"}),
        ("DQN", {"gamma": 0.8}, {}),  # highway-env's
        ("PPO", {"gamma": 0.0}, {"gamma": "notice"}),  # a bandit
        ("PPO", {"gamma": -0.1}, {"gamma": "critical"}),
        ("PPO", {"gae_lambda": 1.01}, {"gae_lambda": "critical"}),
        ("SAC", {"tau": 0.12}, {"tau": "warning"}),
        ("SAC", {"tau": 0.08}, {"tau": "notice"}),
        ("SAC", {"tau": 1.0, "target_update_interval": 1000}, {"tau": "warning"}),
        ("SAC", {"tau": 1.0, "target_update_interval": 1000, "gradient_steps": 1000}, {}),
        ("SAC", {"tau": 1.2}, {"tau": "critical"}),
        ("TD3", {"tau": 0.0005, "_n_updates": 3000}, {"tau": "warning"}),
        ("TD3", {"tau": 0.0005, "_n_updates": 1e6}, {"tau": "notice"}),
        ("TD3", {"tau": 0.00005, "_n_updates": 1e6}, {"tau": "warning"}),
        ("DQN", {"tau": 0.5, "target_update_interval": 100}, {}),
        ("DQN", {"exploration_final_eps": 0.9}, {"exploration_final_eps": "warning"}),
        ("DQN", {"exploration_final_eps": 0.3}, {"exploration_final_eps": "notice"}),
        (
            "DQN",
            {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0},
            {"exploration_final_eps": "warning"},
        ),
        (
            "DQN",
            {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.4},
            {"exploration_final_eps": "warning"},
        ),
        ("DQN", {"exploration_final_eps": 0.0}, {}),
        ("SAC", {"ent_coef": 1.0}, {"ent_coef": "warning"}),
        ("SAC", {"ent_coef": 0.0}, {"ent_coef": "warning"}),
        ("SAC", {"ent_coef": -0.5}, {"ent_coef": "critical"}),
        ("PPO", {"ent_coef": 0.0}, {}),
        ("PPO", {"ent_coef": 1.0}, {"ent_coef": "warning"}),
        ("A2C", {"ent_coef": 0.2}, {"ent_coef": "notice"}),
        ("A2C", {"vf_coef": 0.0}, {"vf_coef": "warning"}),
        ("SAC", {"target_entropy": 3.0, "actions": 2}, {"target_entropy": "warning"}),
        ("SAC", {"target_entropy": -2.0, "actions": 2}, {}),
        ("SAC", {"target_entropy": 3.0, "actions": 5}, {}),
        ("PPO", {"clip_range": 10.0}, {"clip_range": "warning"}),
        ("PPO", {"clip_range": 0.0}, {"clip_range": "critical"}),
        ("DQN", {"buffer_size": 60, "batch_size": 32}, {"buffer_size": "warning"}),
        ("DQN", {"buffer_size": 64, "batch_size": 32}, {}),
        ("PPO", {"buffer_size": 1, "batch_size": 32}, {}),
        ("SAC", {"batch_size": 1}, {"batch_size": "warning"}),
        ("PPO", {"n_steps": 2, "n_envs": 16}, {"n_steps": "warning"}),
        ("A2C", {"n_steps": 2, "n_envs": 1}, {"n_steps": "warning"}),
        ("A2C", {"n_steps": 1, "n_envs": 16}, {}),
        ("TD3", {"noise_std": 10.0}, {"noise_std": "warning"}),
        ("TD3", {"policy_delay": 1000}, {"policy_delay": "warning"}),
        (
            "TD3",
            {"target_policy_noise": 2.0, "target_noise_clip": 4.0},
            {"target_policy_noise": "warning"},
        ),
        ("ARS", {"gamma": 7.0}, {}),
    ],
)
def test_what_breaks_is_a_warning(algorithm: str, values: Values, expected: dict[str, str]) -> None:
    assert judged(algorithm, **values) == expected


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound.key}-{bound.effect[:20]}")
def test_every_recommendation_is_within_all_bounds(bound: Any) -> None:
    """Else correcting a file would not end."""
    beyond = bound.below - 1.0 if bound.below is not None else bound.above + 1.0
    for algorithm in bound.algorithms:
        (verdict,) = judge_ranged(algorithm, {bound.key: beyond})
        assert judged(algorithm, **{bound.key: verdict.recommended or 0.0}) == {}


def test_no_policy_has_the_entropy_that_a_target_may_not_have() -> None:
    """Of all distributions on [-1, 1] the uniform one has the largest, ln 2."""
    edges = np.linspace(-1.0, 1.0, 201)
    draws = np.tanh(np.random.default_rng(0).normal(scale=0.87, size=1_000_000))
    shares, _ = np.histogram(draws, edges)
    density = shares / shares.sum() / np.diff(edges)
    assert -np.sum(density * np.log(density) * np.diff(edges)) < math.log(2)
    assert judged("SAC", target_entropy=math.log(2), actions=1) == {"target_entropy": "warning"}


# -- settings files ----------------------------------------------------------------------------


def test_file_is_corrected_where_it_stands() -> None:
    text = b"algo: sac\ngamma: 1.05  # far\ntau: 0.12\nbatch_size: 256\nbuffer_size: 300\n"
    fixed = fix_text(text)
    assert fixed.text == (
        "algo: sac\ngamma: 0.99  # far\ntau: 0.005\nbatch_size: 256\nbuffer_size: 25600\n"
    )


def test_notice_is_not_corrected() -> None:
    assert fix_text(b"algo: ppo\nent_coef: 0.2\ngamma: 0.0\n").changes == ()


@pytest.mark.parametrize(
    "text",
    [
        b"algo: sac\nenv_kwargs:\n  gamma: 5\n",
        b"algo: sac\nnormalize: {gamma: 5}\n",
        b"algo: sac\nenv_wrapper:\n  - a.B: {tau: 7}\n",
        b"gamma: 5\ntau: 7\n",
        b"algo: sac\ngamma: auto\nbatch_size: true\nent_coef: 'auto'\n",
    ],
)
def test_what_is_no_setting_of_an_algorithm_is_left_alone(text: bytes) -> None:
    assert fix_text(text).changes == ()


def test_settings_that_are_judged_are_sb3s() -> None:
    known = {key for name in ALGORITHMS for key in parameters(name)}
    assert {*RANGED} - known == {"noise_std"}
