"""A live model's dead biases are found, explained and revived; a healthy model is left alone."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from fixtures.environments import Tracking
from fixtures.faulty_policies import (
    GRUExtractor,
    LateActorCriticPolicy,
    LateDQNPolicy,
    LateRecurrentPolicy,
    LateSACPolicy,
    LateTD3Policy,
    TrainableOnlyPolicy,
)
from fixtures.faulty_training import freeze, train, zero
from sacdoctor import RepairOptions, fix
from sacdoctor.severity import Severity
from sacdoctor.training import (
    MissingParameters,
    ZeroWeightsPreventionCallback,
    add_missing_parameters,
    create_zero_prevention_system,
)
from tests.training.gradients.test_guard import same, weights

pytestmark = pytest.mark.slow

LATE = {
    "SAC": LateSACPolicy,
    "TD3": LateTD3Policy,
    "PPO": LateActorCriticPolicy,
    "A2C": LateActorCriticPolicy,
    "RecurrentPPO": LateRecurrentPolicy,
}
INJURED = list(LATE)
ONE_ROLLOUT = {"SAC": 40, "TD3": 40, "PPO": 64, "A2C": 40, "RecurrentPPO": 64}


def system(**options: Any) -> ZeroWeightsPreventionCallback:
    return create_zero_prevention_system(**{"check_frequency": 16, "verbose": 0, **options})


def more(model: BaseAlgorithm, steps: int, callback: Any) -> BaseAlgorithm:
    return model.learn(steps, callback=callback, reset_num_timesteps=False)


def parameters(model: BaseAlgorithm, pattern: str) -> dict[str, nn.Parameter]:
    found = {n: p for n, p in model.policy.named_parameters() if fnmatchcase(n, pattern)}
    assert found, pattern
    return found


def optimizers(model: BaseAlgorithm) -> list[th.optim.Optimizer]:
    policy = model.policy
    holders = [policy, getattr(policy, "actor", None), getattr(policy, "critic", None)]
    return [h.optimizer for h in holders if hasattr(h, "optimizer")]


def moments(model: BaseAlgorithm, parameter: nn.Parameter) -> Mapping[str, Any]:
    return next(o.state[parameter] for o in optimizers(model) if parameter in o.state)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage()
        for r in caplog.records
        if r.name == "sacdoctor" and r.levelno >= logging.WARNING
    ]


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


def test_no_random_number_generator_is_touched() -> None:
    model = train("SAC", after=[zero("*.bias")])
    model.policy.set_training_mode(True)
    callback = system()
    callback.init_callback(model)
    th.manual_seed(3)
    np.random.seed(3)
    expected = th.rand(3), np.random.rand(3)
    th.manual_seed(3)
    np.random.seed(3)
    assert callback.check().repaired
    assert th.equal(th.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


# -- zeroed biases -----------------------------------------------------------------------------

ZEROED = {
    "SAC": "critic.qf0.2.bias",
    "TD3": "actor.mu.2.bias",
    "PPO": "mlp_extractor.policy_net.2.bias",
    "A2C": "mlp_extractor.value_net.2.bias",
    "RecurrentPPO": "lstm_actor.bias_ih_l0",
}


@pytest.mark.parametrize("algorithm", INJURED)
def test_a_zeroed_bias_is_explained_and_revived(
    algorithm: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = ZEROED[algorithm]
    model = train(algorithm)
    (parameter,) = parameters(model, name).values()
    half = parameter.numel() // 2
    zero(name, slice(half))(model)
    others = {n: t for n, t in weights(model).items() if n != name}
    kept = parameter.detach().clone()[half:]
    before = {k: v.clone() for k, v in moments(model, parameter).items() if th.is_tensor(v)}
    callback = system()
    callback.init_callback(model)
    check = callback.check()

    (dead,), (repair,) = check.dead, check.repaired
    assert (dead.name, dead.zeros, dead.zero_percent) == (name, half, 50.0)
    assert dead.severity is Severity.CRITICAL
    assert dead.cause == "reset-after-training"
    assert (repair.name, repair.elements, repair.by, repair.lasts) == (name, half, "reinit", True)
    assert any(name in line and "reset-after-training" in line for line in warnings(caplog))

    revived = parameter.detach()[:half]
    forget = slice(8, 16) if "bias_ih" in name else slice(0)  # 8 cells: rows 8 to 15 of 32
    assert (revived[forget] == 1.0).all()
    rest = th.ones(half, dtype=th.bool)
    rest[forget] = False
    assert (revived[rest].abs() <= 0.01).all() and (revived[rest] != 0).all()
    assert th.equal(parameter.detach()[half:], kept)
    assert same(others, {n: t for n, t in weights(model).items() if n != name})

    after = moments(model, parameter)
    for key, value in before.items():
        if key == "step":
            assert after[key] == value  # not the whole tensor
        else:
            assert (after[key][:half] == 0).all()
            assert th.equal(after[key][half:], value[half:]) and value[half:].any()


@pytest.mark.parametrize("algorithm", ["SAC", "PPO"])
def test_the_step_starts_anew_where_the_whole_tensor_does(algorithm: str) -> None:
    model = train(algorithm, after=[zero(ZEROED[algorithm])])
    (parameter,) = parameters(model, ZEROED[algorithm]).values()
    assert moments(model, parameter)["step"] > 0
    callback = system()
    callback.init_callback(model)
    callback.check()
    assert moments(model, parameter)["step"] == 0
    assert not moments(model, parameter)["exp_avg_sq"].any()


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "RecurrentPPO"])
def test_live_values_are_those_that_fix_writes(algorithm: str, tmp_path: Path) -> None:
    model = train(algorithm, after=[zero("*bias*")])
    model.save(tmp_path / "dead.zip")
    fix(tmp_path / "dead.zip", options=RepairOptions(seed=7))
    fixed = type(model).load(tmp_path / "dead_FIXED.zip", device="cpu")
    callback = system(seed=7)
    callback.init_callback(model)
    callback.check()
    assert same(weights(model), weights(fixed))


@pytest.mark.parametrize(("algorithm", "online"), [("SAC", "critic.qf0.0"), ("TD3", "actor.mu.0")])
def test_targets_are_kept_in_step(algorithm: str, online: str) -> None:
    target = online.replace(".", "_target.", 1)
    model = train(algorithm, after=[zero(f"{online}.bias"), zero(f"{target}.bias")])
    callback = system()
    callback.init_callback(model)
    check = callback.check()
    assert [(r.name, r.by) for r in check.repaired] == [
        (f"{online}.bias", "reinit"),
        (f"{target}.bias", "online"),
    ]
    tensors = weights(model)
    assert tensors[f"{online}.bias"].all()
    assert th.equal(tensors[f"{online}.bias"], tensors[f"{target}.bias"])


def test_a_dead_target_takes_the_living_online_value() -> None:
    model = train("SAC", after=[zero("critic_target.qf1.2.bias")])
    callback = system()
    callback.init_callback(model)
    check = callback.check()
    assert [bias.cause for bias in check.dead] == ["target-out-of-sync"]
    tensors = weights(model)
    assert th.equal(tensors["critic.qf1.2.bias"], tensors["critic_target.qf1.2.bias"])


def test_a_target_that_has_not_followed_yet_is_not_out_of_sync() -> None:
    """DQN copies its online network after 10,000 steps; layers that start at zero stay so."""
    model = train("DQN", before=[zero("*.bias")], target_update_interval=10_000)
    callback = system()
    callback.init_callback(model)
    assert callback.check().dead == ()
    assert weights(model)["q_net.q_net.0.bias"].all()


def test_recurrent_gates_are_revived_by_kind() -> None:
    model = train(
        "PPO",
        policy_kwargs={"features_extractor_class": GRUExtractor},
        after=[zero("features_extractor.gru.bias*")],
    )
    callback = system()
    callback.init_callback(model)
    assert {bias.kind for bias in callback.check().dead} == {"GRU"}
    for bias in parameters(model, "features_extractor.gru.bias*").values():
        assert (bias.abs() <= 0.01).all() and bias.all()


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


class Zeroing(BaseCallback):
    """A fault that comes back: it sets a bias to zero again before every check."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def _on_step(self) -> bool:
        zero(self._name)(self.model)
        return True


def test_what_is_zeroed_again_and_again_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    model = train("SAC")
    callback = system()
    more(model, 200, [Zeroing("actor.mu.bias"), callback])
    assert sum(len(check.repaired) for check in callback.history) == 3
    assert sum("sets it to zero again" in line for line in warnings(caplog)) == 1


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
def test_missing_parameters_are_an_error_if_so_wished(algorithm: str) -> None:
    model = train(algorithm, steps=0, policy=LATE[algorithm], extractor={"branch": "late"})
    with pytest.raises(MissingParameters, match=r"branch\.0\.weight"):
        model.learn(64, callback=system(on_missing_parameters="error"))
    assert model.num_timesteps == 0


@pytest.mark.parametrize("algorithm", [*INJURED, "DQN"])
def test_missing_parameters_that_are_added_train(
    algorithm: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = {**LATE, "DQN": LateDQNPolicy}[algorithm]
    model = train(algorithm, steps=0, policy=policy, extractor={"branch": "late"})
    start = weights(model)
    steps = 4 * ONE_ROLLOUT.get(algorithm, 40)
    callback = system(on_missing_parameters="add")
    model.learn(steps, callback=callback)
    for name, tensor in weights(model).items():
        if "branch" in name and "_target" not in name:
            assert not th.equal(tensor, start[name]), name
    held = [p for o in optimizers(model) for g in o.param_groups for p in g["params"]]
    assert len({id(p) for p in held}) == len(held)
    targets = {id(p) for n, p in model.policy.named_parameters() if "_target" in n}
    assert not targets & {id(p) for p in held}
    for found in optimizers(model):  # as a policy that creates its optimizer last would have it
        assert len(found.param_groups) == 1
    assert all(not check.repaired for check in callback.history)
    assert sum("added" in line for line in warnings(caplog)) == 1


def test_a_model_with_added_parameters_is_loaded_by_set_parameters(tmp_path: Path) -> None:
    def build() -> BaseAlgorithm:
        return train("PPO", steps=0, policy=LateActorCriticPolicy, extractor={"branch": "late"})

    model = build()
    model.learn(64, callback=system(on_missing_parameters="add"))
    model.save(tmp_path / "model.zip")
    again = build()
    added = add_missing_parameters(again)
    assert set(added.values()) == {"policy.optimizer"}
    again.set_parameters(str(tmp_path / "model.zip"))
    assert same(weights(model), weights(again))
    order = {id(p): i for i, p in enumerate(model.policy.parameters())}
    places = [order[id(p)] for p in model.policy.optimizer.param_groups[0]["params"]]
    assert places == sorted(places) and len(places) == len(order)


@pytest.mark.parametrize("algorithm", INJURED)
def test_a_frozen_bias_is_told_and_repaired_once(
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
    assert sum(len(check.repaired) for check in callback.history) == 1
    assert any("will not last" in line for line in warnings(caplog))


@pytest.mark.parametrize("algorithm", INJURED)
@pytest.mark.parametrize(
    ("use", "cause"), [("detached", "no-gradient"), ("silenced", "zero-gradient")]
)
def test_a_branch_that_is_cut_off_live_has_no_gradient(
    algorithm: str, use: str, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = train(algorithm, extractor={"branch": "used"})
    for module in model.policy.modules():
        if hasattr(module, "_use"):
            module._use = use
    more(model, ONE_ROLLOUT[algorithm], None)
    zero("*branch.0.bias")(model)
    callback = system()
    more(model, ONE_ROLLOUT[algorithm], callback)
    dead = {b.name: b for check in callback.history for b in check.dead}
    assert dead and all(name.endswith("branch.0.bias") for name in dead)
    assert {bias.cause for bias in dead.values()} == {cause}
    repairs = [r for check in callback.history for r in check.repaired]
    assert len(repairs) == len(dead) and not any(r.lasts for r in repairs)
    assert any(cause in line and "will not last" in line for line in warnings(caplog))


def test_what_is_frozen_on_purpose_is_not_missing() -> None:
    model = train("PPO", steps=0, policy=TrainableOnlyPolicy, extractor={})
    model.learn(64, callback=system(on_missing_parameters="error"))


def test_a_fresh_layer_norm_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    model = train("PPO", policy=LateActorCriticPolicy, extractor={"branch": "late", "norm": True})
    caplog.clear()
    callback = system()
    callback.init_callback(model)
    check = callback.check()
    norm = "features_extractor.branch.3"
    assert {b.name for b in check.dead} == {f"features_extractor.branch.{i}.bias" for i in (0, 2)}
    assert not weights(model)[f"{norm}.bias"].any()
    assert (weights(model)[f"{norm}.weight"] == 1).all()


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


def test_rl_zoo_builds_it_from_yaml() -> None:
    """As `rl_zoo3.utils.get_callback_list` does: a dotted path, and a dict of arguments."""
    entry = {"sacdoctor.training.ZeroWeightsPreventionCallback": {"check_frequency": 20}}
    ((path, arguments),) = entry.items()
    module, _, name = path.rpartition(".")
    callback = getattr(importlib.import_module(module), name)(**arguments)
    model = train("PPO", steps=0)
    model.learn(64, callback=[callback])
    assert len(callback.history) == 5  # the start, 20, 40, 60, and the end


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"check_frequency": 0}, "check_frequency"),
        ({"on_missing_parameters": "ignore"}, "on_missing_parameters"),
        ({"warning": 40.0}, "warning threshold"),
        ({"max_grad_norm": -1.0}, "max_grad_norm"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_zero_prevention_system(**options)
