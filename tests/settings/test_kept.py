"""`fix-config MODEL --format python`: every setting of the file is in it, and none is code."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import sb3_contrib
import stable_baselines3
import torch as th
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.settings.fix_config import fix_config, fix_text
from sacdoctor.settings.kept import _ALWAYS
from tests.archives import write_sb3
from tests.diagnosis.handmade import SAC as HANDMADE


def signature(name: str) -> set[str]:
    package = stable_baselines3 if hasattr(stable_baselines3, name) else sb3_contrib
    return {*inspect.signature(getattr(package, name)).parameters}


def call(script: str) -> dict[str, Any]:
    """The keywords of the call that makes the model, as values; names and calls as their text."""

    def value(node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            return ast.unparse(node)

    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "model":
            assert isinstance(node.value, ast.Call)
            found = {one.arg or "": value(one.value) for one in node.value.keywords}
            return {"policy": value(node.value.args[0]), **found}
    raise AssertionError(script)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_constructors_take_what_the_table_says(name: str) -> None:
    assert {*ALGORITHMS[name].arguments, *_ALWAYS} <= signature(name)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_setting_that_a_model_keeps_is_forgotten(name: str) -> None:
    """What is asked for elsewhere, or stands for an object of code, is not of the table."""
    elsewhere = {"learning_rate", "max_grad_norm", "learning_starts", "policy", "env", "device"}
    objects = {"action_noise", "replay_buffer_class", "replay_buffer_kwargs"}
    objects |= {"rollout_buffer_class", "rollout_buffer_kwargs"}
    unsaved = {
        "_init_setup_model",
        "stats_window_size",
        "rms_prop_eps",
        "use_rms_prop",
        "zero_policy",
    }
    known = {*ALGORITHMS[name].arguments, *_ALWAYS} | elsewhere | objects | unsaved
    assert signature(name) <= known


@pytest.mark.parametrize(
    ("algorithm", "env", "settings"),
    [
        (
            PPO,
            "CartPole-v1",
            {"gamma": 0.97, "n_steps": 16, "batch_size": 8, "clip_range": 0.15, "target_kl": 0.02},
        ),
        (
            SAC,
            "Pendulum-v1",
            {"tau": 0.01, "train_freq": (3, "step"), "buffer_size": 12_345, "ent_coef": "auto_0.2"},
        ),
        (A2C, "CartPole-v1", {"vf_coef": 0.3, "gae_lambda": 0.9, "use_sde": False}),
        (DQN, "CartPole-v1", {"exploration_final_eps": 0.07, "train_freq": (2, "episode")}),
    ],
)
def test_the_script_has_every_setting_and_sb3_makes_the_same_model_of_it(
    tmp_path: Path, algorithm: Any, env: str, settings: dict[str, Any]
) -> None:
    kwargs = {"net_arch": [7, 5], "activation_fn": th.nn.LeakyReLU}
    model = algorithm("MlpPolicy", env, policy_kwargs=kwargs, seed=3, device="cpu", **settings)
    model.save(tmp_path / "m.zip")
    script = fix_config(tmp_path / "m.zip").as_python()
    said = call(script)
    assert {key: said[key] for key in settings} == settings
    assert said["policy_kwargs"].replace("'", '"').startswith('{"net_arch": [7, 5]')
    space: dict[str, Any] = {}
    exec(script.partition("model.learn(")[0].partition("# SAC(")[0], space)
    again = space["model"]
    shapes = {name: tuple(one.shape) for name, one in again.policy.state_dict().items()}
    assert shapes == {name: tuple(one.shape) for name, one in model.policy.state_dict().items()}
    assert (again.gamma, again.seed) == (model.gamma, 3)
    assert "LeakyReLU" in repr(again.policy)


def test_the_environment_is_the_one_that_the_monitor_names(tmp_path: Path) -> None:
    env = Monitor(gym.make("Acrobot-v1"), str(tmp_path / "run"))
    DQN("MlpPolicy", env, device="cpu", buffer_size=100).save(tmp_path / "model.zip")
    env.close()
    assert 'env = gym.make("Acrobot-v1")\n' in fix_config(tmp_path / "model.zip").as_python()
    (tmp_path / "other.monitor.csv").write_text('#{"env_id": "CartPole-v1"}\nr,l,t\n')
    assert "# your environment" in fix_config(tmp_path / "model.zip").as_python()


def test_so_many_environments_as_there_were(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=3), n_steps=8, batch_size=8)
    model.save(tmp_path / "m.zip")
    script = fix_config(tmp_path / "m.zip").as_python()
    assert 'make_vec_env("CartPole-v1", n_envs=3)' in script


def test_a_policy_of_the_users_own_is_imported(broken: Path) -> None:
    script = fix_config(broken).as_python()
    assert "from fixtures.policies import TwoHeadV11Sigmoid\n" in script
    assert call(script)["policy"] == "TwoHeadV11Sigmoid"
    assert call(script)["clip_range"] == 0.2
    assert "total_timesteps=512)" in script


def test_what_no_value_says_is_named(tmp_path: Path) -> None:
    PPO("MlpPolicy", "CartPole-v1", clip_range=lambda left: 0.1 * left, device="cpu").save(
        tmp_path / "m.zip"
    )
    script = fix_config(tmp_path / "m.zip").as_python()
    assert "# Not here, as it takes more than a value: clip_range.\n" in script


ODD = ['"); import os; os.system("x") #', "\n\x1b[31m\u202e", "'", "\ud800", "é"]


@pytest.mark.parametrize("text", ODD)
def test_no_text_of_a_file_becomes_code(tmp_path: Path, text: str) -> None:
    settings = {**HANDMADE, "ent_coef": text, "policy_kwargs": {text: [text]}, "gamma": 0.99}
    path = write_sb3(tmp_path / "m.zip", {"a.bias": th.ones(2)}, settings)
    script = fix_config(path).as_python()
    assert script.isascii()
    assert call(script)["ent_coef"] == text
    assert call(script)["policy_kwargs"] == {text: [text]}
    (tmp_path / "monitor.csv").write_text("#" + json.dumps({"env_id": text}) + "\n")
    assert 'gym.make("Pendulum-v1")' in fix_config(path).as_python()


# -- settings files ----------------------------------------------------------------------------


def of_zoo(**entries: str) -> str:
    lines = "".join(f"  {key}: {value}\n" for key, value in entries.items())
    return fix_text(f"Acrobot-v1:\n{lines}".encode(), algorithm="DQN").as_python()


def test_a_section_of_rl_zoo_keeps_its_environment_and_all_else() -> None:
    script = of_zoo(
        n_timesteps="!!float 2e4",
        policy="'MlpPolicy'",
        learning_rate="5e-1",
        gamma="0.98",
        train_freq="[4, step]",
        n_envs="4",
        policy_kwargs='"dict(net_arch=[8, 8], activation_fn=nn.Tanh)"',
        normalize="true",
    )
    said = call(script)
    assert said["gamma"] == 0.98
    assert said["train_freq"] == (4, "step")
    assert said["policy_kwargs"] == "dict(net_arch=[8, 8], activation_fn=nn.Tanh)"
    assert said["learning_rate"] < 0.1
    assert 'make_vec_env("Acrobot-v1", n_envs=4)\n' in script
    assert "from torch import nn\n" in script
    assert "total_timesteps=20_000)" in script
    assert "more than a value: normalize.\n" in script


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('x')",
        "dict(a=open('x'))",
        "dict(**x)",
        "os.sep",
        "dict(",
        "[x for x in y]",
    ],
)
def test_an_expression_that_does_more_than_make_values_is_left_out(text: str) -> None:
    script = of_zoo(learning_rate="1e-4", policy_kwargs=json.dumps(text))
    said = call(script)["policy_kwargs"]
    assert said == text  # a text, not code


def test_a_linear_clip_range_stays_linear() -> None:
    text = b"learning_rate: 1e-4\nclip_range: lin_0.2\nenv: CartPole-v1\n"
    said = call(fix_text(text, algorithm="PPO").as_python())
    assert said["clip_range"] == "lambda progress_remaining: 0.2 * progress_remaining"
