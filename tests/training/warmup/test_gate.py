"""A loop of one's own does not update before the warm-up is over."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from sacdoctor.training import WarmupGate


def updates(gate: WarmupGate, steps: range, **options: int) -> list[int]:
    return [step for step in steps if gate.may_update(step, **options)]


def test_the_first_update_comes_after_the_first_step_behind_the_warm_up() -> None:
    """As WarmupGuard has it in SB3: 500 forced steps, the update after step 501."""
    gate = WarmupGate(500)
    assert updates(gate, range(1, 503)) == [501, 502]
    assert gate.updates_began_at == 501


def test_without_a_warm_up_nothing_is_held_back() -> None:
    assert updates(WarmupGate(0), range(1, 4)) == [1, 2, 3]


def test_a_resumed_loop_does_not_repeat_the_warm_up() -> None:
    assert WarmupGate(500).may_update(20_000)


@pytest.mark.parametrize(("rollout", "first"), [(64, 192), (100, 200), (128, 256)])
def test_no_rollout_with_a_forced_step_in_it_is_learned_from(rollout: int, first: int) -> None:
    """Warm-up of 100 steps: the first rollout that begins behind it."""
    gate = WarmupGate(100)
    ends = range(rollout, 1_000, rollout)
    assert updates(gate, ends, rollout_steps=rollout)[0] == first


def test_it_waits_for_an_environment_that_forces_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = WarmupGate(10)
    with caplog.at_level(logging.WARNING):
        allowed = [s for s in range(1, 40) if gate.may_update(s, {"forced": s <= 20})]
    assert allowed[0] == 21
    assert [r.getMessage() for r in caplog.records] == [
        "the environment forces actions at step 11, WarmupGate was given warmup_steps=10: updates "
        "wait until it stops"
    ]


def test_one_forced_environment_of_several_holds_it_shut() -> None:
    infos = {"forced": np.array([False, True]), "_forced": np.array([True, True])}
    assert not WarmupGate(0).may_update(5, infos)
    assert not WarmupGate(0).may_update(5, [{"forced": False}, {"forced": True}])


def test_a_long_warm_up_is_named(caplog: pytest.LogCaptureFixture) -> None:
    gate = WarmupGate(20_000)
    assert [finding.code for finding in gate.findings] == ["SD502"]
    assert "20,000 steps" in caplog.text
    assert WarmupGate().findings == ()


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        WarmupGate(-1)
