"""SD407 and SD507: the limits of actions against what a Gaussian policy does, on real spaces."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.save_util import data_to_json

from sacdoctor import Finding
from tests.diagnosis.handmade import PPO, SAC, finding, report


def found(
    folder: Path,
    code: str,
    low: Any,
    high: Any,
    *,
    deviation: float = 1.0,
    mean: float = 0.0,
    name: str = "log_std",
    settings: dict[str, Any] = PPO,
    **policy_kwargs: Any,
) -> Finding | None:
    """What is said of a policy with these limits, pickled as SB3 pickles them."""
    box = gymnasium.spaces.Box(np.float32(low), np.float32(high), (2,))
    saved = {**settings, **_as_saved({"action_space": box, "policy_kwargs": policy_kwargs})}
    policy = {
        name: th.full((2,), log(deviation)),
        "action_net.bias": th.full((2,), mean),
    }
    return finding(report(folder, policy, saved), code)


def _as_saved(data: dict[str, Any]) -> dict[str, Any]:
    import json

    saved: dict[str, Any] = json.loads(data_to_json(data))
    return saved


def severity(one: Finding | None) -> str | None:
    return None if one is None else one.severity.value


MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1, 1, None),
        (-0.4, 0.4, None),  # Humanoid
        (-2, 2, None),  # Pendulum
        (0, 1, None),
        (-100, 100, None),  # Isaac Lab
        (-np.inf, np.inf, None),
        (-MAX, MAX, None),
        (0, np.inf, None),
        (5, 35, "warning"),
        (-35, -5, "warning"),
        (1, 10, "notice"),
        (-1e4, 1e4, "warning"),
        (0, 500, "notice"),
        (-1e-3, 1e-3, "warning"),
    ],
)
def test_limits_are_held_against_the_first_actions(
    tmp_path: Path, low: float, high: float, expected: str | None
) -> None:
    one = found(tmp_path, "SD407", low, high)
    assert severity(one) == expected
    if one is not None:
        assert f"{low:g} to {high:g}" in one.evidence
        assert "RescaleAction" in one.remedy


def test_share_of_actions_that_reach_a_box_two_deviations_away() -> None:
    """The rule's border, by drawing."""
    draws = np.random.default_rng(0).normal(size=100_000)
    assert 0.02 < (draws > 2.0).mean() < 0.025
    assert 0.91 < (np.abs(draws) > 0.1).mean() < 0.93


@pytest.mark.parametrize(
    "training",
    [{"mean": 20.0}, {"log_std_init": 3.0, "deviation": 15.0}, {"squash_output": True}],
    ids=["learned", "started-wide", "squashed"],
)
def test_policy_that_reaches_its_limits_is_not_reported(
    tmp_path: Path, training: dict[str, Any]
) -> None:
    assert found(tmp_path, "SD407", 5, 35, **training) is None


@pytest.mark.parametrize(
    ("name", "settings"), [("actor.log_std", SAC), ("policy.log_std", PPO)], ids=["gsde", "own"]
)
def test_what_is_scaled_by_sb3_is_not_judged(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    assert found(tmp_path, "SD407", 5, 35, name=name, settings=settings) is None


def test_discrete_actions_and_broken_spaces_are_not_judged(tmp_path: Path) -> None:
    for space in (
        _as_saved({"action_space": gymnasium.spaces.Discrete(2)}),
        {"action_space": {":type:": "<class 'gym.spaces.box.Box'>", ":serialized:": "gARL"}},
        {"action_space": {":type:": "<class 'gym.spaces.box.Box'>", ":serialized:": "gARLAS4="}},
        {"action_space": None},
    ):
        made = report(tmp_path, {"log_std": th.full((2,), 4.0)}, {**PPO, **space})
        assert finding(made, "SD407") is None
        assert finding(made, "SD507") is None


@pytest.mark.parametrize(
    ("deviation", "high", "expected"),
    [
        (1.0, 1, None),
        (1.13, 1, None),  # the largest of good public agents
        (1.99, 1, None),
        (2.05, 1, "warning"),
        (10.1, 1, "critical"),
        (63.0, 1, "critical"),
        (2.05, 2, None),
        (1.2, 0.4, None),  # it started at 2.5 half ranges
    ],
)
def test_deviation_is_measured_in_half_ranges(
    tmp_path: Path, deviation: float, high: float, expected: str | None
) -> None:
    one = found(tmp_path, "SD507", -high, high, deviation=deviation)
    assert severity(one) == expected
    if one is not None:
        assert one.tensors == ("log_std",)


@pytest.mark.parametrize(
    ("low", "high", "policy_kwargs"),
    [(-np.inf, np.inf, {}), (-1, 1, {"squash_output": True}), (-1, 1, {"log_std_init": 3.0})],
    ids=["no-limits", "squashed", "not-grown"],
)
def test_deviation_that_hits_no_limit_or_did_not_grow(
    tmp_path: Path, low: float, high: float, policy_kwargs: dict[str, Any]
) -> None:
    assert found(tmp_path, "SD507", low, high, deviation=20.0, **policy_kwargs) is None


def test_share_of_clipped_actions_is_that_of_a_normal_distribution(tmp_path: Path) -> None:
    draws = np.random.default_rng(0).normal(scale=3.0, size=100_000)
    one = found(tmp_path, "SD507", -1, 1, deviation=3.0)
    assert one is not None
    assert f"{100 * (np.abs(draws) > 1).mean():.0f} %" in one.evidence
