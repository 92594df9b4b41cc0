"""Dead biases of a live model are revived: which, to what, and how often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch as th

from fixtures.faulty_policies import (
    GRUExtractor,
    LateActorCriticPolicy,
)
from fixtures.faulty_training import train, zero
from sacdoctor import RepairOptions, fix
from sacdoctor.severity import Severity
from tests.training.gradients.test_guard import same, weights
from tests.training.injured import (
    INJURED,
    ZEROED,
    Zeroing,
    moments,
    more,
    parameters,
    system,
    warnings,
)

pytestmark = pytest.mark.slow


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


def test_what_is_zeroed_again_and_again_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    model = train("SAC")
    callback = system()
    more(model, 200, [Zeroing("actor.mu.bias"), callback])
    assert sum(len(check.repaired) for check in callback.history) == 3
    assert sum("sets it to zero again" in line for line in warnings(caplog)) == 1


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
