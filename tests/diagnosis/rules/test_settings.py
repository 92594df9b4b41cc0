"""SD401 to SD404: what the settings say, what the optimizers use, and where the ranges end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch as th

from sacdoctor import Finding, scan
from sacdoctor.algorithms import ALGORITHMS
from tests.diagnosis.handmade import DQN, PPO, SAC, TRPO, adam, finding, report

POLICY = {"net.bias": th.ones(2)}
SCHEDULE = {":type:": "<class 'function'>", ":serialized:": "gASVCAAAAAAAAACMBGFiY2SULg=="}


def judged(
    folder: Path, code: str, settings: dict[str, Any], applied: float | None = None
) -> Finding | None:
    lr = applied if applied is not None else settings.get("learning_rate", 3e-4)
    state = {"policy.optimizer": adam([th.ones(2)], lr=lr if isinstance(lr, float) else 3e-4)}
    return finding(report(folder, POLICY, settings, state), code)


def severity(found: Finding | None) -> str | None:
    return found.severity.value if found is not None else None


# -- SD401 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"optimizer_class": th.optim.Adam}, None),
        ({"optimizer_class": th.optim.SGD}, "warning"),  # RLMutation's POC
        ({"optimizer_class": th.optim.RMSprop}, None),
    ],
)
def test_a_rate_for_adam_is_none_for_sgd(
    tmp_path: Path, options: dict[str, Any], expected: str | None
) -> None:
    for algorithm, env in (
        (stable_baselines3.PPO, "CartPole-v1"),
        (stable_baselines3.A2C, "CartPole-v1"),
        (stable_baselines3.SAC, "Pendulum-v1"),
    ):
        kwargs: dict[str, Any] = {**options, "optimizer_kwargs": {}}
        algorithm("MlpPolicy", env, policy_kwargs=kwargs, device="cpu").save(tmp_path / "m")
        assert severity(finding(scan(tmp_path / "m.zip"), "SD401")) == expected


def test_a_rate_for_sgd_with_momentum_is_left_alone(tmp_path: Path) -> None:
    kwargs = {"optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.9}}
    stable_baselines3.PPO(
        "MlpPolicy", "CartPole-v1", learning_rate=1e-2, policy_kwargs=kwargs, device="cpu"
    ).save(tmp_path / "m")
    assert finding(scan(tmp_path / "m.zip"), "SD401") is None


def test_sgd_moves_a_weight_less_than_adam_by_what_the_norm_is_spread_over() -> None:
    """The mechanism, in PyTorch: a gradient of norm 0.5 over 10,000 weights, one step."""
    moved = []
    for optimizer in (th.optim.SGD, th.optim.Adam):
        weight = th.nn.Parameter(th.zeros(10_000))
        weight.grad = th.full((10_000,), 0.5 / 100)
        optimizer([weight], lr=1e-3).step()
        moved.append(float(weight.detach().abs().mean()))
    assert moved[1] / moved[0] == pytest.approx(100 / 0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "rate", "expected"),
    [
        (SAC, 1e-5, None),
        (SAC, 3e-4, None),
        (SAC, 3.1e-4, "notice"),
        (SAC, 9.9e-6, "warning"),
        (SAC, 1e-3, "notice"),
        (SAC, 1.1e-3, "critical"),
        (SAC, 5e-3, "critical"),
        (PPO, 1e-3, None),
        (PPO, 1.1e-3, "warning"),
        (PPO, 3.1e-3, "critical"),
        (PPO, 1e-9, "warning"),
        (DQN, 4e-3, "notice"),
        (DQN, 4.1e-3, "critical"),
    ],
)
def test_configured_rate_at_the_ends_of_the_range(
    tmp_path: Path, settings: dict[str, Any], rate: float, expected: str | None
) -> None:
    found = judged(tmp_path, "SD401", {**settings, "learning_rate": rate})
    assert severity(found) == expected
    if found is not None:
        assert f"{rate:g}" in found.message


@pytest.mark.parametrize(
    ("last", "expected"),
    [(5e-2, "critical"), (2e-3, None), (1e-9, None), (0.0, None)],
)
def test_of_a_schedule_only_a_last_rate_far_too_high_says_anything(
    tmp_path: Path, last: float, expected: str | None
) -> None:
    found = judged(tmp_path, "SD401", {**PPO, "learning_rate": SCHEDULE}, applied=last)
    assert severity(found) == expected


def test_rate_of_zero_in_a_trained_model_is_the_end_of_a_schedule(tmp_path: Path) -> None:
    assert judged(tmp_path, "SD401", {**PPO, "learning_rate": 0.0}, applied=0.0) is None


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "expected"), [(0.0, "critical"), (1e-4, None)])
def test_rate_of_zero_that_left_every_weight_as_it_was_drawn(
    tmp_path: Path, rate: float, expected: str | None
) -> None:
    for algorithm, env, steps in (
        (stable_baselines3.DQN, "CartPole-v1", 700),
        (stable_baselines3.PPO, "CartPole-v1", 640),
        (stable_baselines3.SAC, "Pendulum-v1", 250),
    ):
        options = {"n_steps": 64} if algorithm is stable_baselines3.PPO else {}
        model = algorithm("MlpPolicy", env, learning_rate=rate, device="cpu", seed=0, **options)
        model.learn(steps)
        model.save(tmp_path / "m")
        assert severity(finding(scan(tmp_path / "m.zip"), "SD401")) == expected


def test_rate_of_zero_in_the_settings_of_a_trained_model_is_for_evaluation(tmp_path: Path) -> None:
    model = stable_baselines3.PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu")
    model.learn(640)
    model.learning_rate = 0.0
    for group in model.policy.optimizer.param_groups:
        group["lr"] = 0.0
    model.save(tmp_path / "m")
    assert finding(scan(tmp_path / "m.zip"), "SD401") is None


def test_rate_of_zero_without_moments_never_trains(tmp_path: Path) -> None:
    state = {"policy.optimizer": adam([None], lr=0.0)}
    found = report(tmp_path, POLICY, {**PPO, "learning_rate": 0.0}, state)
    assert severity(finding(found, "SD401")) == "critical"


@pytest.mark.parametrize(
    ("configured", "last", "expected"),
    [
        (SCHEDULE, -2.3e-4, "critical"),
        (SCHEDULE, -4.3e-8, "notice"),
        (SCHEDULE, -1.1e-5, "notice"),  # rl-zoo's CartPole: 100,352 of 100,000 steps
        (-1e-4, -1e-4, "critical"),
        (-1e-8, -1e-8, "critical"),
        (3e-4, -1e-3, "critical"),
    ],
)
def test_rate_below_zero_ascends(
    tmp_path: Path, configured: Any, last: float, expected: str
) -> None:
    found = judged(tmp_path, "SD401", {**PPO, "learning_rate": configured}, applied=last)
    assert severity(found) == expected
    assert found is not None
    assert "ascends" in found.message


def test_sb3_lets_a_schedule_overshoot(tmp_path: Path) -> None:
    """What SB3 itself does where rollouts do not divide the steps."""
    model = stable_baselines3.PPO(
        "MlpPolicy", "CartPole-v1", n_steps=64, device="cpu", learning_rate=lambda left: 1e-3 * left
    )
    model.learn(40)
    model.save(tmp_path / "m.zip")
    found = finding(scan(tmp_path / "m.zip"), "SD401")
    assert severity(found) == "critical"
    assert found is not None
    assert "-0.0006" in found.evidence  # 1e-3 x (1 - 64 / 40)


def test_unknown_algorithm_has_no_range(tmp_path: Path) -> None:
    assert judged(tmp_path, "SD401", {"learning_rate": 100.0}, applied=100.0) is None


def test_remedy_names_a_rate_within_the_range(tmp_path: Path) -> None:
    found = judged(tmp_path, "SD401", {**SAC, "learning_rate": 5e-3})
    assert found is not None
    rate = float(found.remedy.split("--learning-rate ")[1].split("`")[0])
    safe = ALGORITHMS["SAC"].learning_rates
    assert safe.low <= rate <= safe.high


# -- SD402 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "norm", "expected"),
    [
        (PPO, 0.5, None),
        (PPO, 5.0, None),
        (PPO, 0.49, "notice"),
        (PPO, 0.29, "warning"),
        (PPO, 5.1, "warning"),
        (PPO, 0.0, "critical"),
        (DQN, 10, None),
        (DQN, 10.1, "warning"),
        (TRPO, 0.0, None),
        (PPO, None, None),
    ],
)
def test_gradient_clipping_at_the_ends_of_the_range(
    tmp_path: Path, settings: dict[str, Any], norm: float | None, expected: str | None
) -> None:
    assert severity(judged(tmp_path, "SD402", {**settings, "max_grad_norm": norm})) == expected


def test_algorithm_without_the_setting_is_not_told_to_clip(tmp_path: Path) -> None:
    assert judged(tmp_path, "SD402", SAC) is None


# -- SD403 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, None),
        ({"clip_grad_value": None, "clip_range_vf": None}, None),
        ({"clip_grad_value": 0.5}, "warning"),
        ({"clip_range_vf": 0.2}, "notice"),
        ({"clip_range_vf": SCHEDULE}, "notice"),
    ],
    ids=["unset", "none", "gradients", "values", "values-by-schedule"],
)
def test_clipping_by_value(tmp_path: Path, extra: dict[str, Any], expected: str | None) -> None:
    assert severity(judged(tmp_path, "SD403", {**PPO, **extra})) == expected


def test_both_kinds_are_two_findings(tmp_path: Path) -> None:
    settings = {**PPO, "clip_grad_value": 0.5, "clip_range_vf": 0.2}
    found = report(tmp_path, POLICY, settings)
    assert [f.severity for f in found.findings if f.rule == "SD403"] == ["warning", "notice"]


# -- SD404 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "applied", "differs"),
    [(3e-4, 3e-4, False), (3e-4, 3.0000001e-4, False), (3e-4, 3.001e-4, True), (1e-4, 3e-4, True)],
)
def test_constant_and_applied_rate_are_compared(
    tmp_path: Path, configured: float, applied: float, differs: bool
) -> None:
    found = judged(tmp_path, "SD404", {**PPO, "learning_rate": configured}, applied=applied)
    assert (found is not None) == differs
    if found is not None:
        assert found.severity == "warning"
        assert found.evidence == f"learning_rate {configured:g}; policy.optimizer: {applied:g}"
        assert f"--learning-rate {configured:g}" in found.remedy


def advised(found: Finding | None) -> list[float]:
    assert found is not None
    return [float(part.split("`")[0]) for part in found.remedy.split("--learning-rate ")[1:]]


def test_both_rates_have_their_remedy_where_both_are_safe(tmp_path: Path) -> None:
    found = judged(tmp_path, "SD404", {**PPO, "learning_rate": 1e-4}, applied=3e-4)
    assert advised(found) == [1e-4, 3e-4]


@pytest.mark.parametrize(
    ("configured", "applied"),
    [(5e-3, 1e-4), (5e-3, 2e-4), (1e-9, 1e-4), (5e-3, 4e-3), (1e-4, 5e-3), (1e-4, 0.0)],
)
def test_no_rate_is_advised_that_the_other_rule_would_not_leave(
    tmp_path: Path, configured: float, applied: float
) -> None:
    settings = {**SAC, "learning_rate": configured}
    rates = advised(judged(tmp_path, "SD404", settings, applied=applied))
    other = judged(tmp_path, "SD401", settings, applied=applied)
    safe = ALGORITHMS["SAC"].learning_rates
    assert rates and all(safe.low <= rate <= safe.high for rate in rates)
    if other is not None:
        assert advised(other) == rates


def test_an_assigned_rate_is_one_that_sb3_ignores_until_loading(tmp_path: Path) -> None:
    """What SB3 itself does with it, so that the remedy says what is so."""
    model = stable_baselines3.PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu")
    model.learning_rate = 1e-4
    model.learn(64)
    model.save(tmp_path / "m.zip")
    found = finding(scan(tmp_path / "m.zip"), "SD404")
    assert found is not None
    assert found.evidence == "learning_rate 0.0001; policy.optimizer: 0.0003"
    assert advised(found) == [1e-4, 3e-4]
    loaded = stable_baselines3.PPO.load(tmp_path / "m.zip", env=model.get_env())
    loaded.learn(64)
    assert [group["lr"] for group in loaded.policy.optimizer.param_groups] == [1e-4]


def test_any_group_may_differ(tmp_path: Path) -> None:
    state = adam([th.ones(2)])
    state["param_groups"].append({**state["param_groups"][0], "params": [], "lr": 1e-2})
    found = report(tmp_path, POLICY, PPO, {"policy.optimizer": state})
    assert finding(found, "SD404") is not None


@pytest.mark.parametrize(
    ("settings", "moments"),
    [
        ({**PPO, "learning_rate": SCHEDULE}, [th.ones(2)]),
        ({**PPO, "_n_updates": 0}, [th.ones(2)]),
        (PPO, [None]),
    ],
    ids=["schedule", "untrained", "no-moments"],
)
def test_rates_that_may_differ(
    tmp_path: Path, settings: dict[str, Any], moments: list[th.Tensor | None]
) -> None:
    state = {"policy.optimizer": adam(moments, lr=0.5)}
    assert finding(report(tmp_path, POLICY, settings, state), "SD404") is None
