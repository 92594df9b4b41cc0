"""A live model's dead biases are found and told of; a healthy model is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from fixtures.environments import Tracking
from fixtures.faulty_training import freeze, train, zero
from sacdoctor.severity import Severity
from sacdoctor.training import (
    create_zero_prevention_system,
)
from tests.training.gradients.test_guard import same, weights
from tests.training.injured import (
    INJURED,
    LATE,
    ONE_ROLLOUT,
    ZEROED,
    Zeroing,
    more,
    optimizers,
    system,
    warnings,
)

pytestmark = pytest.mark.slow

# -- healthy training --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "steps", "settings"),
    [
        ("SAC", 1_500, {"train_freq": 2}),
        ("TD3", 1_500, {"train_freq": 2}),
        ("DQN", 1_500, {}),
        ("TQC", 1_500, {"train_freq": 4}),
        ("CrossQ", 1_500, {"train_freq": 4}),
        ("PPO", 2_000, {}),
        ("A2C", 2_000, {}),
        ("RecurrentPPO", 1_500, {"n_epochs": 1}),
        ("MaskablePPO", 500, {}),
        ("DDPG", 500, {"train_freq": 2}),
        ("QRDQN", 500, {}),
        ("TRPO", 500, {}),
        ("ARS", 500, {}),
    ],
)
def test_healthy_training_is_neither_warned_of_nor_changed(
    algorithm: str, steps: int, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    sizes = {"net_arch": {"pi": [16], "qf": [32]}} if algorithm == "CrossQ" else None
    alone = train(algorithm, steps=steps, policy_kwargs=sizes, **settings)
    watched = train(algorithm, steps=0, policy_kwargs=sizes, **settings)
    callback = create_zero_prevention_system(check_frequency=250, verbose=0)
    watched.learn(steps, callback=callback)
    assert warnings(caplog) == []
    assert same(weights(alone), weights(watched))
    assert len(callback.history) >= steps // 250
    assert callback.history[-1].updated
    assert all(check.severity is Severity.OK for check in callback.history)


def test_the_zeros_that_sb3_starts_with_are_nobodys_fault(caplog: pytest.LogCaptureFixture) -> None:
    model = train("PPO", steps=0)
    callback = system(stop_training=True)
    model.learn(64, callback=callback)  # all of them before the first update, but for the last
    early = [check for check in callback.history if not check.updated]
    assert len(early) == 5
    assert all(check.zero_percent == 100.0 and not check.dead for check in early)
    assert warnings(caplog) == []
    assert model.num_timesteps == 64


def test_without_auto_fix_nothing_changes(caplog: pytest.LogCaptureFixture) -> None:
    model = train("SAC", after=[zero("actor.mu.bias")])
    callback = system(auto_fix=False)
    callback.init_callback(model)
    assert [bias.name for bias in callback.check().dead] == ["actor.mu.bias"]
    assert not weights(model)["actor.mu.bias"].any()
    assert any("auto_fix is off" in line for line in warnings(caplog))
    said = len(warnings(caplog))
    callback.check()
    assert len(warnings(caplog)) == said  # once


def test_thresholds_are_options() -> None:
    model = train("SAC", after=[zero("actor.latent_pi.0.bias", slice(4))])  # 25 % of 16
    for options, severity in (
        ({}, "warning"),
        ({"critical": 20.0}, "critical"),
        ({"warning": 25.0}, None),
    ):
        callback = system(auto_fix=False, **options)
        callback.init_callback(model)
        assert [b.severity.value for b in callback.check().dead] == ([severity] if severity else [])


# -- what cannot last --------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", INJURED)
def test_late_layers_are_told_at_the_start_and_repaired_once(
    algorithm: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = train(algorithm, steps=0, policy=LATE[algorithm], extractor={"branch": "late"})
    callback = system()
    model.learn(3 * ONE_ROLLOUT[algorithm], callback=CallbackList([callback]))
    said = warnings(caplog)
    assert "are in no optimizer" in said[0] and "branch.0.weight" in said[0]
    assert sum("are in no optimizer" in line for line in said) == 1
    dead = {b.name: b for check in callback.history for b in check.dead if "_target" not in b.name}
    assert {bias.cause for bias in dead.values()} == {"not-in-optimizer"}
    assert set(dead) == {n for n in weights(model) if "branch" in n and n.endswith("bias")} - {
        n for n in weights(model) if "_target" in n or n.startswith(("pi_", "vf_"))
    }
    times = [r.name for check in callback.history for r in check.repaired]
    assert len(times) == len(set(times)) >= len(dead)
    assert not any(r.lasts for check in callback.history for r in check.repaired)
    assert sum("will not last" in line for line in said) == 1
    assert all(t.any() for n, t in weights(model).items() if "branch" in n)


@pytest.mark.parametrize("algorithm", INJURED)
def test_a_frozen_bias_is_told_and_left_alone(
    algorithm: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ZEROED[algorithm]
    model = train(algorithm, after=[freeze(name), zero(name)])
    callback = system(verbose=1)
    more(model, ONE_ROLLOUT[algorithm], [Zeroing(name), callback])
    assert f"parameters are frozen and will not be trained ({name})" in capsys.readouterr().out
    dead = [b for check in callback.history for b in check.dead]
    assert {(b.name, b.cause, b.evidence) for b in dead} == {
        (name, "no-gradient", "it is frozen: its requires_grad is False")
    }
    assert not any(check.repaired for check in callback.history)
    assert sum("not repaired: it is frozen" in line for line in warnings(caplog)) == 1
    assert not weights(model)[name].any()


# -- stopping, logging, saving -----------------------------------------------------------------


@pytest.mark.parametrize(("zeros", "stops"), [(16, True), (9, True), (8, False)])
def test_training_stops_above_the_stop_level(zeros: int, stops: bool) -> None:
    model = train("SAC")
    steps = model.num_timesteps

    class Once(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == steps + 10:
                zero("actor.latent_pi.0.bias", slice(zeros))(model)
            return True

    more(model, 100, [Once(), system(check_frequency=10, stop_training=True)])
    assert model.num_timesteps == steps + (10 if stops else 100)
    assert weights(model)["actor.latent_pi.0.bias"].all()  # what is saved now is repaired


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_training_stops_on_values_that_are_not_finite(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    model = train("DQN")
    with th.no_grad():
        model.policy.q_net.q_net[0].weight[0, 0] = value  # type: ignore[union-attr, index]
    steps = model.num_timesteps
    callback = create_zero_prevention_system(verbose=0, stop_training=True)
    more(model, 100, callback)
    assert model.num_timesteps == steps + 1  # SB3 asks for the first time after a step
    assert callback.history[0].non_finite == ("q_net.q_net.0.weight",)
    assert any("NaN or infinite" in line for line in warnings(caplog))


def test_checks_fire_with_several_environments() -> None:
    envs = DummyVecEnv([lambda: Tracking() for _ in range(3)])
    model = PPO("MlpPolicy", envs, n_steps=32, batch_size=32, seed=0, device="cpu")
    callback = system(check_frequency=50)
    model.learn(192, callback=callback)
    # Steps go by threes: the first multiples of 3 from 50, 100, 150 on, the start and the end.
    assert [check.num_timesteps for check in callback.history] == [0, 51, 102, 150, 192]


def test_what_it_sees_is_in_sb3s_logger(tmp_path: Path) -> None:
    model = train("SAC", after=[zero("actor.mu.bias")])
    model.set_logger(configure(str(tmp_path), ["csv", "stdout"]))
    model.learn(200, callback=system(), log_interval=1)
    model.logger.close()
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert float(rows[0]["sacdoctor/repaired"]) == 2  # a bias per dimension of the action
    assert float(rows[0]["sacdoctor/zero_percent"]) == 0
    assert float(rows[0]["sacdoctor/dead_biases"]) == 0
    assert "sacdoctor/worst_zero_percent" in rows[0]
    assert {f"sacdoctor/gradient_norm/{n}" for n in ("actor", "critic", "ent_coef")} <= set(rows[0])


def test_a_summary_is_printed_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    model = train("SAC", after=[zero("actor.mu.bias")])
    more(model, 40, system(verbose=1))
    printed = capsys.readouterr().out
    assert "actor.mu.bias: 2 elements set to uniform(-0.01, 0.01)" in printed
    assert "1 were dead, 1 repaired (2 elements); 0.00 % zeros at the end" in printed


def test_models_are_saved_while_it_is_attached(tmp_path: Path) -> None:
    model = train("SAC", steps=0)
    saving = CheckpointCallback(50, str(tmp_path), save_replay_buffer=True)
    model.learn(100, callback=[system(max_grad_norm=1.0), saving])
    loaded = type(model).load(tmp_path / "rl_model_100_steps.zip", device="cpu")
    assert loaded.num_timesteps == 100
    for found in optimizers(model):
        assert not found._optimizer_step_pre_hooks
        assert set(found.state_dict()) == {"state", "param_groups"}
