"""SD105, SD107, SD208, SD209: whole networks and layers that cannot learn, at their limits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th
from torch import nn

from sacdoctor import Report
from tests.diagnosis.handmade import DQN, PPO, SAC, adam, finding, report

Weights = dict[str, th.Tensor]


def policy(units: int = 16) -> Weights:
    """PPO's actor and critic of one hidden layer, drawn as PyTorch draws them."""
    th.manual_seed(0)
    layers = {
        "mlp_extractor.policy_net.0": nn.Linear(3, units),
        "mlp_extractor.value_net.0": nn.Linear(3, units),
        "action_net": nn.Linear(units, 2),
        "value_net": nn.Linear(units, 1),
    }
    return {
        f"{name}.{part}": parameter.detach()
        for name, layer in layers.items()
        for part, parameter in layer.named_parameters()
    }


def with_moments(folder: Path, state: Weights, second: Weights, step: float = 100) -> Report:
    """A PPO file whose second moments are 1e-4 where `second` says nothing else."""
    moments = [second.get(name, th.full_like(value, 1e-4)) for name, value in state.items()]
    return report(folder, state, PPO, {"policy.optimizer": adam(moments, step=step)})


# -- SD208 -------------------------------------------------------------------------------------

CRITIC = ("mlp_extractor.value_net.0", "value_net")


def of_critic(state: Weights, value: float) -> Weights:
    return {n: th.full_like(v, value) for n, v in state.items() if n.startswith(CRITIC)}


@pytest.mark.parametrize("value", [0.0, 1e-38, 9e-31])
def test_network_without_any_gradient_has_stopped(tmp_path: Path, value: float) -> None:
    state = policy()
    found = finding(with_moments(tmp_path, state, of_critic(state, value)), "SD208")
    assert found is not None
    assert (found.severity, set(found.tensors)) == ("critical", {*of_critic(state, value)})
    assert "the critic has stopped" in found.message


def test_network_with_one_gradient_has_not_stopped(tmp_path: Path) -> None:
    state = policy()
    second = of_critic(state, 0.0)
    second["value_net.bias"] = th.tensor([1e-12])
    assert finding(with_moments(tmp_path, state, second), "SD208") is None


@pytest.mark.parametrize(("step", "stopped"), [(9.0, False), (10.0, True)])
def test_network_had_its_turn(tmp_path: Path, step: float, stopped: bool) -> None:
    state = policy()
    found = finding(with_moments(tmp_path, state, of_critic(state, 0.0), step), "SD208")
    assert (found is not None) is stopped


# -- SD105 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("silent", "found"), [(48, False), (49, True), (63, True), (64, False)])
def test_more_silent_units_than_as_many_coins_show(
    tmp_path: Path, silent: int, found: bool
) -> None:
    """64 coins: a half is 32, four standard deviations are 4 · √64 ÷ 2 = 16."""
    state, name = policy(64), "mlp_extractor.policy_net.0"
    second = {
        f"{name}.{part}": th.full_like(state[f"{name}.{part}"], 1e-4) for part in ("weight", "bias")
    }
    for moment in second.values():
        moment[:silent] = 0.0
    told = finding(with_moments(tmp_path, state, second), "SD105")
    assert (told is not None) is found
    if told is not None:
        assert f"{silent} of 64 units" in told.evidence
        assert told.tensors == (f"{name}.bias",)


# -- SD107 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("copies", "found"), [(7, False), (8, True), (15, True)])
def test_half_of_the_rows_repeat_another(tmp_path: Path, copies: int, found: bool) -> None:
    state = policy()
    state["mlp_extractor.policy_net.0.weight"][:copies] = state[
        "mlp_extractor.policy_net.0.weight"
    ][15]
    told = finding(with_moments(tmp_path, state, {}), "SD107")
    assert (told is not None) is found
    if told is not None:
        assert f"{copies} of 16 rows" in told.evidence


@pytest.mark.parametrize("dtype", [th.float32, th.float16, th.bfloat16])
def test_rows_of_zeros_and_random_rows_are_no_copies(tmp_path: Path, dtype: th.dtype) -> None:
    state = {name: value.to(dtype) for name, value in policy(256).items()}
    state["mlp_extractor.policy_net.0.weight"][:200] = 0.0
    assert finding(with_moments(tmp_path, state, {}), "SD107") is None


def test_constant_weights_alone_are_a_file_made_by_hand(tmp_path: Path) -> None:
    state = {name: th.full_like(value, 0.01) for name, value in policy().items()}
    assert finding(report(tmp_path, state), "SD107") is None
    assert finding(with_moments(tmp_path, state, {}), "SD107") is not None


def test_an_expanded_weight_is_one_row(tmp_path: Path) -> None:
    state = policy()
    state["mlp_extractor.policy_net.0.weight"] = th.rand(1, 3).expand(16, 3)
    assert finding(with_moments(tmp_path, state, {}), "SD107") is not None


# -- SD209 -------------------------------------------------------------------------------------


def q_networks(factor: float, **settings: object) -> tuple[Weights, dict[str, object]]:
    """A target that is `factor` times its online network: the distance is |factor − 1|."""
    th.manual_seed(0)
    weight, bias = th.randn(4, 3), th.randn(4)
    state = {"q_net.q_net.0.weight": weight, "q_net.q_net.0.bias": bias}
    state |= {name.replace("q_net.", "q_net_target.", 1): factor * v for name, v in state.items()}
    return state, {**DQN, "tau": 1.0, **settings}


@pytest.mark.parametrize(
    ("factor", "found"), [(1.0, False), (0.0, False), (1.99, False), (2.01, True), (-0.01, True)]
)
def test_target_farther_than_a_network_of_zeros_is_another_one(
    tmp_path: Path, factor: float, found: bool
) -> None:
    told = finding(report(tmp_path, *q_networks(factor)), "SD209")
    assert (told is not None) is found
    if told is not None:
        assert f"its distance is {abs(factor - 1):.3g} times" in told.evidence
        assert all("target" in name for name in told.tensors)


def test_nan_is_no_distance(tmp_path: Path) -> None:
    assert finding(report(tmp_path, *q_networks(float("nan"))), "SD209") is None


@pytest.mark.parametrize(("tau", "found"), [(0.0, True), (0.005, False)])
def test_target_with_a_tau_of_zero_never_follows(tmp_path: Path, tau: float, found: bool) -> None:
    told = finding(report(tmp_path, *q_networks(1.0, tau=tau)), "SD209")
    assert (told is not None) is found


def test_tau_is_nothing_without_a_target(tmp_path: Path) -> None:
    state = {"actor.mu.weight": th.randn(4, 4), "actor.mu.bias": th.randn(4)}
    assert finding(report(tmp_path, state, {**SAC, "tau": 0.0}), "SD209") is None
