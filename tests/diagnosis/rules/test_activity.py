"""What networks at work show, judged: figures on either side of each limit."""

from __future__ import annotations

from typing import Any

import pytest

from sacdoctor.diagnosis import (
    ActionActivity,
    Activity,
    LayerActivity,
    NetworkActivity,
    ValueActivity,
)
from sacdoctor.diagnosis.rules import RULES, findings


def layer(name: str = "latent", activation: str | None = "ReLU", **figures: Any) -> LayerActivity:
    known = {"units": 64, "dead": 0, "saturated": None, "at_limit": None, "stuck": 0}
    return LayerActivity(name, activation, **{**known, "dormant": 0, "rank": 20, **figures})


def actor(*layers: LayerActivity, **actions: Any) -> NetworkActivity:
    last = layer("out", None, units=1)
    figures = ActionActivity(**actions)
    return NetworkActivity("actor", (*layers, last), figures, is_policy=True)


def critic(**figures: Any) -> NetworkActivity:
    known = {"low": -9.0, "high": 9.0, "mean": 0.0, "size": 5.0}
    return NetworkActivity("critic", (layer(),), values=ValueActivity(**{**known, **figures}))


def named(*networks: NetworkActivity, **known: Any) -> list[str]:
    facts = {
        **{"algorithm": "SAC", "observations": 1000, "updates": 1000, "replays": True},
        **{"follows_slowly": True, "knows_rewards": True, "knows_largest": True},
    }
    activity = Activity(networks=networks, **{**facts, **known})
    return [finding.rule for finding in findings([activity], RULES)]


HEALTHY: list[dict[str, Any]] = [
    {"spread": (0.5, 0.4), "lower": (0.3, 0.2), "upper": (0.5, 0.1), "deviation": 0.5, "flat": 0.0},
    {"spread": (0.001,), "lower": (0.0,), "upper": (0.0,), "deviation": 0.87, "flat": 0.0},  # young
    {"spread": (1.0,), "lower": (0.5,), "upper": (0.5,), "flat": 0.02},  # bang-bang
    {"commonest": 1.0, "likeliest": 0.72},  # young
    {"commonest": 0.96, "random": 0.0},
    {"commonest": 1.0, "random": 0.05},
]


@pytest.mark.parametrize("actions", HEALTHY)
def test_policies_that_may_yet_try_something_else_are_left_alone(actions: dict[str, Any]) -> None:
    assert named(actor(layer(), **actions)) == []


@pytest.mark.parametrize(
    "actions",
    [
        {"commonest": 1.0, "likeliest": 0.99},
        {"commonest": 1.0, "random": 0.0},
        {"spread": (0.0,), "lower": (1.0,), "upper": (0.0,), "deviation": 0.001},
        {"spread": (0.001,), "lower": (0.0,), "upper": (0.0,), "deviation": 0.001, "flat": 0.0},
        {"spread": (0.0, 0.0), "lower": (1.0, 0.0), "upper": (0.0, 1.0)},  # TD3
    ],
)
def test_a_policy_that_stands_still_is_named(actions: dict[str, Any]) -> None:
    assert named(actor(layer(), **actions)) == ["SD508"]


@pytest.mark.parametrize(("deviation", "found"), [(0.02, []), (0.005, ["SD505"])])
def test_a_deviation_that_is_a_layer_is_judged_at_work(deviation: float, found: list[str]) -> None:
    actions = {"spread": (0.5,), "lower": (0.0,), "upper": (0.0,), "deviation": deviation}
    assert named(actor(layer(), **actions)) == found


def test_a_policy_that_never_learned_is_not_said_to_stand_still() -> None:
    assert named(actor(layer(), commonest=1.0, likeliest=1.0), updates=0) == []


@pytest.mark.parametrize(("share", "found"), [(0.5, []), (0.95, ["SD106"])])
def test_units_at_their_limits_are_named(share: float, found: list[str]) -> None:
    hidden = layer("first", "Tanh", saturated=0, at_limit=share)
    assert named(actor(hidden, commonest=0.6, likeliest=0.6)) == found


def test_what_follows_from_saturated_units_is_one_fault_with_them() -> None:
    hidden = layer("first", "Tanh", saturated=64, at_limit=1.0)
    assert named(actor(hidden, commonest=1.0, likeliest=1.0)) == ["SD106"]


def test_saturated_heads_and_value_networks_are_no_fault() -> None:
    head = layer("gate", "Sigmoid", units=4, saturated=4, at_limit=1.0)
    wide = layer("value", "Tanh", saturated=64, at_limit=1.0)
    assert named(actor(head), NetworkActivity("value", (wide,))) == []


def test_actions_where_tanh_is_flat_are_named() -> None:
    beyond = {"spread": (1.0,), "lower": (0.5,), "upper": (0.5,), "flat": 0.97}
    assert named(actor(layer(), **beyond)) == ["SD106"]


@pytest.mark.parametrize(("dead", "found"), [(63, []), (64, ["SD105"])])
def test_layers_that_put_out_nothing_are_named(dead: int, found: list[str]) -> None:
    assert named(actor(layer(dead=dead))) == found
    online = NetworkActivity("critic", (layer(dead=dead),))
    assert named(online, online._replace(name="critic_target", is_target=True)) == found


@pytest.mark.parametrize(
    ("size", "knows_largest", "found"),
    [(30.0, True, []), (60.0, True, ["SD305"]), (60.0, False, []), (1100.0, False, ["SD305"])],
)
def test_values_beyond_all_rewards_are_named(
    size: float, knows_largest: bool, found: list[str]
) -> None:
    network = critic(size=size, largest=10.0)
    assert named(network, knows_largest=knows_largest) == found
    assert named(network, knows_rewards=False) == []


@pytest.mark.parametrize(
    ("figures", "found"),
    [
        ({"residual": 0.21, "correlation": 0.3, "error": 1.0}, []),
        ({"residual": 0.4, "correlation": 0.9, "error": 0.4}, []),
        ({"residual": 0.4, "correlation": 0.1, "error": 1.4}, ["SD306"]),
        ({"reward_correlation": -0.6, "reward_share": 0.9}, []),
        ({"reward_correlation": -0.9, "reward_share": 0.01}, []),
        ({"reward_correlation": -0.9, "reward_share": 0.9}, ["SD306"]),
        ({"equals_target": True}, ["SD306"]),
        ({"action_effect": 0.02}, []),
        ({"action_effect": 0.0}, ["SD904"]),
        ({"action_effect": 0.03, "action_correlation": 0.5, "reward_share": 1.0}, []),
        ({"action_effect": 0.03, "action_correlation": 0.07, "reward_share": 0.1}, []),
        ({"action_effect": 0.03, "action_correlation": 0.07, "reward_share": 1.0}, ["SD904"]),
    ],
)
def test_values_that_do_not_follow_are_named(figures: dict[str, Any], found: list[str]) -> None:
    assert named(critic(**figures)) == found


def test_value_networks_of_on_policy_algorithms_are_not_judged_by_their_targets() -> None:
    assert named(critic(residual=0.8, correlation=-0.58), replays=False) == []


def test_a_target_that_jumps_may_be_equal() -> None:
    """DQN's, each time it is renewed."""
    assert named(critic(equals_target=True), follows_slowly=False) == []


def test_a_young_critic_may_be_wrong() -> None:
    wrong = critic(residual=0.9, correlation=0.0, reward_correlation=-0.9, reward_share=1.0)
    assert named(wrong, updates=100) == []
