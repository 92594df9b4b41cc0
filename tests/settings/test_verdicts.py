"""What is wrong with a setting, and how far off it is."""

from __future__ import annotations

import math

import pytest

from sacdoctor.settings import (
    judge_clip_grad_value,
    judge_learning_rate,
    judge_learning_starts,
    judge_max_grad_norm,
    judge_warmup_steps,
)


def test_the_reported_rate_is_50_times_too_high() -> None:
    verdict = judge_learning_rate("SAC", 5e-3)
    assert verdict is not None
    assert verdict.severity == "critical"
    assert (verdict.recommended, verdict.low, verdict.high) == (1e-4, 1e-5, 3e-4)
    assert verdict.message == (
        "50 times the recommended 1e-4 and 16.7 times the upper end of the safe range 3e-4"
    )


def test_a_tuned_rate_above_the_range_is_a_notice_that_says_so() -> None:
    verdict = judge_learning_rate("SAC", 7.3e-4)
    assert verdict is not None
    assert verdict.severity == "notice"
    assert not verdict.must_change
    assert verdict.message == (
        "7.3 times the recommended 1e-4 and 2.43 times the upper end of the safe range 3e-4, "
        "though rl-zoo's tuned settings go up to 1e-3"
    )


def test_a_rate_below_the_range_is_a_warning() -> None:
    verdict = judge_learning_rate("SAC", 1e-7)
    assert verdict is not None
    assert verdict.severity == "warning"
    assert verdict.message == (
        "1,000 times below the recommended 1e-4 and 100 times below the lower end of the safe "
        "range 1e-5"
    )


@pytest.mark.parametrize("rate", [1e-5, 1e-4, 3e-4])
def test_the_ends_belong_to_the_range(rate: float) -> None:
    assert judge_learning_rate("SAC", rate) is None


@pytest.mark.parametrize("rate", [0.0, -1e-4, math.nan])
def test_a_rate_that_learns_nothing_is_critical(rate: float) -> None:
    verdict = judge_learning_rate("SAC", rate)
    assert verdict is not None and verdict.severity == "critical"
    assert "above 0" in verdict.message


def test_the_smallest_and_the_largest_rates_have_a_message() -> None:
    for rate in (5e-324, 1e308, math.inf):
        verdict = judge_learning_rate("SAC", rate)
        assert verdict is not None and " times " in verdict.message


@pytest.mark.parametrize(
    ("algorithm", "norm", "severity"),
    [
        ("SAC", 1.0, None),
        ("SAC", 0.5, None),
        ("SAC", 5.0, None),
        ("SAC", 0.4, "notice"),
        ("SAC", 5.1, "warning"),
        ("SAC", None, "warning"),
        ("SAC", math.inf, "warning"),
        ("PPO", 0.0, "critical"),
        ("PPO", -1.0, "critical"),
        ("PPO", math.nan, "critical"),
        ("PPO", 0.3, "notice"),
        ("PPO", 0.29, "warning"),
        ("DQN", 10.0, None),
        ("DQN", 11.0, "warning"),
        ("QRDQN", None, None),
        ("TRPO", 0.0, None),
        ("ARS", 0.0, None),
    ],
)
def test_gradient_norms(algorithm: str, norm: float | None, severity: str | None) -> None:
    verdict = judge_max_grad_norm(algorithm, norm)
    assert (None if verdict is None else verdict.severity) == severity
    assert verdict is None or verdict.recommended == 1.0


def test_clipping_by_value_is_better_left_unset() -> None:
    verdict = judge_clip_grad_value(0.5)
    assert verdict is not None and verdict.recommended is None
    assert judge_clip_grad_value(None) is None


@pytest.mark.parametrize(
    ("steps", "safe"), [(0, True), (5000, True), (10_000, True), (10_001, False), (-1, False)]
)
def test_warmups(steps: int, safe: bool) -> None:
    verdict = judge_warmup_steps(steps)
    assert (verdict is None) == safe
    assert verdict is None or verdict.recommended == 5000


def test_no_update_may_use_forced_actions() -> None:
    verdict = judge_learning_starts("SAC", 1000, 5000)
    assert verdict is not None and verdict.recommended == 5000
    assert verdict.message == (
        "updates would begin after 1000 steps, while the action is forced until step 5000"
    )
    assert judge_learning_starts("SAC", 5000, 5000) is None


def test_unset_learning_starts_are_sb3s_100() -> None:
    verdict = judge_learning_starts("SAC", None, 5000)
    assert verdict is not None
    assert "after 100 steps (SB3's default, as none is set)" in verdict.message


def test_without_a_forced_warmup_updates_may_begin_at_once() -> None:
    assert judge_learning_starts("SAC", 0, 0) is None


def test_what_learns_from_no_buffer_has_no_learning_starts() -> None:
    assert judge_learning_starts("PPO", 0, 5000) is None
