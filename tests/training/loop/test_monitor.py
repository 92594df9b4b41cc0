"""A loop of one's own is watched without SB3: the healthy is left alone, the sick is named."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from sacdoctor.model import Cause
from sacdoctor.severity import Severity
from sacdoctor.training import NonFinite, TrainingMonitor
from tests.conftest import child_environment
from tests.training.injured import warnings
from tests.training.injured_loop import Loop

AT = 250
Hurt = Callable[[Loop], None]


def watched(
    hurt: Hurt | None = None,
    steps: int = 300,
    optimizer: Callable[..., th.optim.Optimizer] = th.optim.Adam,
    **options: Any,
) -> tuple[Loop, TrainingMonitor]:
    """A loop that is hurt once, after `AT` steps, before the check of that step."""
    loop = Loop(optimizer)
    monitor = TrainingMonitor(
        loop.modules, loop.optimizers, **{"check_frequency": 50, "verbose": 0, **options}
    )
    with monitor:
        for step in range(1, steps + 1):
            loop.update()
            if step == AT and hurt is not None:
                hurt(loop)
            if not monitor.step(step):
                break
    return loop, monitor


def zero(name: str) -> Hurt:
    def hurt(loop: Loop) -> None:
        with th.no_grad():
            loop.parameter(name).zero_()

    return hurt


def put(name: str, value: float) -> Hurt:
    def hurt(loop: Loop) -> None:
        with th.no_grad():
            loop.parameter(name)[0] = value

    return hurt


# -- healthy loops -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer", [th.optim.Adam, th.optim.AdamW, th.optim.RMSprop, th.optim.SGD]
)
def test_a_healthy_loop_is_neither_warned_of_nor_changed(
    optimizer: Callable[..., th.optim.Optimizer], caplog: pytest.LogCaptureFixture
) -> None:
    alone = Loop(optimizer)
    for _ in range(300):
        alone.update()
    loop, monitor = watched(optimizer=optimizer)
    assert warnings(caplog) == [] and monitor.findings == []
    assert len(monitor.history) == 7  # at the start, and after 50, 100, … 300 steps
    after = loop.weights()
    assert all(th.equal(after[name], value) for name, value in alone.weights().items())


def test_biases_that_start_at_zero_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """CleanRL's layers do; nothing is said before the first update, nor after it."""
    loop = Loop()
    for name in ("actor.0.bias", "critic.0.bias", "critic_target.0.bias"):
        zero(name)(loop)
    with TrainingMonitor(loop.modules, loop.optimizers, check_frequency=1, verbose=0) as monitor:
        for step in range(1, 60):
            if step > 20:
                loop.update()
            monitor.step(step)
    assert warnings(caplog) == []
    assert not any(check.repaired for check in monitor.history)


def test_hooks_are_gone_after_the_end_and_after_an_error() -> None:
    loop, monitor = watched()
    assert all(not optimizer._optimizer_step_pre_hooks for optimizer in loop.optimizers.values())
    with pytest.raises(ZeroDivisionError), monitor:
        assert all(optimizer._optimizer_step_pre_hooks for optimizer in loop.optimizers.values())
        _ = 1 / 0
    assert all(not optimizer._optimizer_step_pre_hooks for optimizer in loop.optimizers.values())


def test_without_a_with_block_the_first_step_begins_and_close_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loop = Loop()
    monitor = TrainingMonitor(loop.modules, loop.optimizers)
    for step in range(1, 11):
        loop.update()
        assert monitor.step(step)
    monitor.close()
    monitor.close()
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and out.startswith("sacdoctor: 2 checks of 6 biases: 0 were dead")
    assert "actor 9 steps" in out  # the first update came before the first step was told


# -- what is wrong is named, and repaired ------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("actor.0.bias", Cause.RESET_AFTER_TRAINING),
        ("critic.0.bias", Cause.RESET_AFTER_TRAINING),
        ("critic_target.0.bias", Cause.TARGET_OUT_OF_SYNC),
    ],
)
def test_a_zeroed_bias_is_named_with_its_cause_and_repaired(
    name: str, cause: Cause, caplog: pytest.LogCaptureFixture
) -> None:
    loop, monitor = watched(zero(name))
    check = next(check for check in monitor.history if check.dead)
    assert check.num_timesteps == AT
    assert [(bias.name, bias.cause) for bias in check.dead] == [(name, cause)]
    assert [repair.name for repair in check.repaired] == [name]
    assert len(warnings(caplog)) == 1 and cause.value in warnings(caplog)[0]
    assert monitor.history[-1].severity is Severity.OK
    assert bool((loop.parameter(name) != 0).all())


def test_units_that_rest_in_the_last_batch_do_not_hide_who_zeroed_a_bias() -> None:
    """A ReLU that is off for a whole batch has a gradient of exactly 0, and had others before."""

    def zero_and_rest(loop: Loop) -> None:
        zero("actor.0.bias")(loop)
        gradient = loop.parameter("actor.0.bias").grad
        assert gradient is not None
        gradient[:10] = 0.0

    _, monitor = watched(zero_and_rest)
    dead = [bias.cause for check in monitor.history for bias in check.dead]
    assert dead == [Cause.RESET_AFTER_TRAINING]


def test_nothing_is_repaired_where_that_is_not_wanted(caplog: pytest.LogCaptureFixture) -> None:
    def frozen_at_zero(loop: Loop) -> None:
        zero("actor.0.bias")(loop)
        loop.optimizers["actor"].param_groups[0]["lr"] = 0.0

    loop, monitor = watched(frozen_at_zero, auto_fix=False)
    assert not any(check.repaired for check in monitor.history)
    assert bool((loop.parameter("actor.0.bias") == 0).all())
    assert "auto_fix is off" in warnings(caplog)[0]


def test_a_target_that_is_called_as_in_cleanrl_finds_its_network() -> None:
    """`q_network` and `target_network`: told by the word and the shapes."""
    loop = Loop()
    modules: dict[str, nn.Module] = {
        "q_network": loop.critic,
        "target_network": loop.critic_target,
    }
    with TrainingMonitor(
        modules, {"optimizer": loop.optimizers["critic"]}, check_frequency=50, verbose=0
    ) as monitor:
        for step in range(1, 301):
            loop.update()
            if step == AT:
                zero("critic_target.0.bias")(loop)
            monitor.step(step)
    dead = [bias for check in monitor.history for bias in check.dead]
    assert [(bias.name, bias.cause) for bias in dead] == [
        ("target_network.0.bias", Cause.TARGET_OUT_OF_SYNC)
    ]
    assert monitor.history[-1].severity is Severity.OK


def test_a_weight_that_is_nan_is_named_and_ends_training(caplog: pytest.LogCaptureFixture) -> None:
    _, monitor = watched(put("actor.2.weight", float("nan")), stop_training=True)
    assert monitor.num_timesteps == AT
    assert monitor.history[-1].non_finite == ("actor.2.weight",)
    assert "actor.2.weight" in warnings(caplog)[0] and "stops" in warnings(caplog)[-1]


def test_a_gradient_that_is_nan_changes_no_weight_and_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def reward_nan(loop: Loop) -> None:
        loop.reward = float("nan")

    loop, monitor = watched(reward_nan)
    assert monitor.gradients["critic"].skipped == 300 - AT
    assert monitor.gradients["actor"].skipped == 0
    assert all(bool(value.isfinite().all()) for value in loop.weights().values())
    assert len(warnings(caplog)) == 2  # the first, and that ten in a row were skipped
    assert "a gradient in critic is not finite" in warnings(caplog)[0]
    assert "the loss of critic, while all parameters are finite" in warnings(caplog)[0]
    assert warnings(caplog)[1].startswith("at 259 steps: critic takes no step any more")


def test_what_the_loop_tells_is_what_gradients_are_blamed_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = Loop()
    with TrainingMonitor(loop.modules, loop.optimizers, verbose=0, stop_training=True) as monitor:
        for step in range(1, 100):
            if step == 20:
                loop.reward = float("nan")
            if not monitor.step(step, reward=loop.reward):
                break
            loop.update()
    assert monitor.num_timesteps == 30
    first, stuck, stops = warnings(caplog)
    assert first == "at 20 steps: reward is nan"
    assert "the first thing that was not finite: reward is nan, at 20 steps" in stuck
    assert stops == "training stops at 30 steps: critic is stuck"


@pytest.mark.parametrize("told", [True, False])
def test_training_ends_by_an_error_where_that_is_asked_for(told: bool) -> None:
    loop = Loop()
    loop.reward = float("nan")
    values: dict[str, Any] = {"reward": loop.reward} if told else {}
    monitor = TrainingMonitor(loop.modules, loop.optimizers, verbose=0, on_non_finite="raise")
    with (
        pytest.raises(NonFinite, match="reward is nan" if told else "critic takes no step"),
        monitor,
    ):
        for step in range(1, 100):
            loop.update()
            monitor.step(step, **values)
    assert monitor.num_timesteps == (1 if told else 10)
    assert all(not optimizer._optimizer_step_pre_hooks for optimizer in loop.optimizers.values())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"reward": float("nan")}, "reward is nan"),
        ({"state": np.array([0.0, np.inf, 1.0])}, "state[1] is inf"),
        ({"state": np.array([[0.0, 1.0], [1.0, -np.inf]])}, "state[1, 1] is -inf"),
        ({"reward": 1.0, "loss": th.tensor(float("nan"))}, "loss is nan"),
    ],
)
def test_the_first_value_that_is_not_finite_is_named_once(
    values: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop()
    with TrainingMonitor(loop.modules, loop.optimizers, verbose=0) as monitor:
        monitor.step(1, reward=0.5, state=np.zeros(3))
        for step in range(2, 50):
            monitor.step(step, **values)
    assert warnings(caplog) == [f"at 2 steps: {said}"]
    assert [finding.message for finding in monitor.findings] == [said]


# -- what nobody trains ------------------------------------------------------------------------


def test_a_layer_that_no_optimizer_holds_is_named_within_two_checks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = Loop()
    loop.modules["critic2"] = nn.Linear(4, 1)
    with TrainingMonitor(loop.modules, loop.optimizers, check_frequency=50, verbose=0) as monitor:
        for step in range(1, 301):
            loop.update()
            monitor.step(step)
    assert len(warnings(caplog)) == 1
    assert "critic2.weight, critic2.bias" in warnings(caplog)[0]
    assert "in no optimizer" in warnings(caplog)[0] and warnings(caplog)[0].startswith("at 100")
    assert [finding.message for finding in monitor.findings] == [warnings(caplog)[0][14:]]


@pytest.mark.parametrize("every", [1, 60])
def test_a_copy_under_any_name_follows_its_network(
    every: int, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop()
    loop.modules["averaged"] = copy.deepcopy(loop.actor)
    with TrainingMonitor(loop.modules, loop.optimizers, check_frequency=50, verbose=0) as monitor:
        for step in range(1, 301):
            loop.update()
            if step % every == 0:
                loop.modules["averaged"].load_state_dict(loop.actor.state_dict())
            monitor.step(step)
    assert warnings(caplog) == []


def test_what_is_frozen_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    loop.modules["encoder"] = nn.Linear(3, 3).requires_grad_(False)
    nn.init.zeros_(loop.modules["encoder"].bias)  # type: ignore[arg-type]
    with TrainingMonitor(loop.modules, loop.optimizers, check_frequency=50, verbose=0) as monitor:
        for step in range(1, 301):
            loop.update()
            monitor.step(step)
    assert warnings(caplog) == []
    assert bool((loop.parameter("encoder.bias") == 0).all())


def test_a_temperature_that_is_nan_is_named(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    log_alpha = th.zeros(1, requires_grad=True)
    loop.optimizers["alpha"] = th.optim.Adam([log_alpha], lr=1e-3)
    with TrainingMonitor(loop.modules, loop.optimizers, check_frequency=50, verbose=0) as monitor:
        for step in range(1, 301):
            loop.update()
            if step == AT:
                log_alpha.data.fill_(float("nan"))
            monitor.step(step)
    assert warnings(caplog) == [f"at {AT} steps: alpha[0] is nan"]


# -- gradients ---------------------------------------------------------------------------------


def test_gradients_are_clipped_as_pytorch_does() -> None:
    loop, other = Loop(th.optim.SGD), Loop(th.optim.SGD)
    monitor = TrainingMonitor(loop.modules, loop.optimizers, verbose=0, max_grad_norm=0.1)
    with monitor:
        loop.update()
        monitor.step(1)
    for optimizer in other.optimizers.values():
        optimizer.register_step_pre_hook(
            lambda own, *_: nn.utils.clip_grad_norm_(own.param_groups[0]["params"], 0.1) and None
        )
    other.update()
    assert monitor.gradients["critic"].clipped == 1
    for name, value in other.weights().items():
        th.testing.assert_close(loop.weights()[name], value)


# -- returns -----------------------------------------------------------------------------------


def returns(monitor: TrainingMonitor, values: np.ndarray[Any, Any], **options: Any) -> None:
    for value in values:
        monitor.step(monitor.num_timesteps + 100)
        monitor.episode(float(value), **options)


def unwatched(**options: Any) -> TrainingMonitor:
    return TrainingMonitor({}, {}, verbose=0, **options)


def test_a_collapse_of_the_return_is_named_with_what_preceded_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """CartPole's 309 ± 135 falls to 9.4, within 30 episodes."""
    random = np.random.default_rng(0)
    monitor = unwatched()
    returns(monitor, np.zeros(20), forced=True)
    returns(monitor, random.normal(309, 135, 60).clip(8, 500))
    assert monitor.crashes == []
    returns(monitor, random.normal(9.4, 0.8, 30))
    assert [crash.preceded_by.name for crash in monitor.crashes if crash.preceded_by] == [
        "end of warm-up"
    ]
    assert monitor.crashes[0].episode in range(75, 90)
    assert len(warnings(caplog)) == 1 and "rewards crashed in episode" in warnings(caplog)[0]
    assert monitor.findings[0].kind == "reward-crash"  # type: ignore[union-attr]


def test_forced_episodes_are_not_judged() -> None:
    """Doing nothing earns 0; the agent's first own episodes lose, which is no crash."""
    monitor = unwatched()
    returns(monitor, np.zeros(50), forced=True)
    returns(monitor, np.random.default_rng(0).normal(-20, 3, 50))
    assert monitor.crashes == [] and len(monitor.returns) == 50


def test_a_return_that_is_nan_is_named_and_not_counted() -> None:
    monitor = unwatched()
    returns(monitor, np.array([1.0, np.nan, 2.0]))
    assert monitor.returns == [1.0, 2.0]
    assert [finding.message for finding in monitor.findings] == ["return is nan"]


# -- what it needs and refuses -----------------------------------------------------------------


@pytest.mark.slow
def test_neither_sb3_nor_gymnasium_is_needed() -> None:
    script = """
import sys
for name in ("stable_baselines3", "sb3_contrib", "gymnasium"):
    sys.modules[name] = None
from sacdoctor.training import TrainingMonitor, WarmupGate, executed_action
from tests.training.injured_loop import Loop
loop, gate = Loop(), WarmupGate(5)
with TrainingMonitor(loop.modules, loop.optimizers, check_frequency=10, verbose=0) as monitor:
    for step in range(1, 100):
        executed_action({"executed_action": [0.0]}, [1.0])
        if gate.may_update(step):
            loop.update()
        monitor.step(step, reward=1.0)
        monitor.episode(1.0)
print(len(monitor.history), monitor.findings)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("11 []\n", "")


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="check_frequency is 0"):
        unwatched(check_frequency=0)
    with pytest.raises(ValueError, match="max_grad_norm is -1"):
        unwatched(max_grad_norm=-1.0)
    with pytest.raises(TypeError, match="not to int"):
        unwatched(log=3)


def test_messages_go_to_pythons_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sacdoctor"):
        watched(verbose=1)
    assert any("7 checks of 6 biases" in record.getMessage() for record in caplog.records)
