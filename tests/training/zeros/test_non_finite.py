"""What is not finite is named by what it came from, once, and training stops where asked to."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th

from fixtures.environments import Tracking
from fixtures.faulty_training import At, fill, made, train
from sacdoctor.training import NonFinite, TrainingHealthCallback
from sacdoctor.training.live import NonFiniteWatch
from tests.training.gradients.test_guard import weights
from tests.training.injured import more, system

pytestmark = pytest.mark.slow


class Broken(gym.Wrapper[Any, Any, Any, Any]):
    """Returns a NaN reward, or a NaN in feature 1 of an observation, in step `at` alone."""

    def __init__(self, what: str, at: int, every: bool = False) -> None:
        super().__init__(Tracking())
        self._what, self._at, self._every, self._steps = what, at, every, 0

    def step(self, action: Any) -> Any:
        seen, reward, ended, cut, info = self.env.step(action)
        self._steps += 1
        if self._steps == self._at or (self._every and self._steps > self._at):
            if self._what == "reward":
                reward = float("nan")
            else:
                seen = np.array(seen)
                seen[1] = np.nan
        return seen, reward, ended, cut, info


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [r for r in caplog.records if r.levelno >= logging.WARNING]
    return [r.getMessage() for r in told]


def test_one_nan_reward_gives_one_message(caplog: pytest.LogCaptureFixture) -> None:
    # A large buffer of which each batch is a tenth: the NaN comes now and then, never ten in a row.
    model = made("SAC", batch_size=16, learning_starts=100)
    model.set_env(model._wrap_env(Broken("reward", 100)))
    callback = system()
    model.learn(400, callback=callback)
    (line,) = lines(caplog)
    assert "the reward of environment 0 is nan, at 100 steps" in line
    assert sum(record.skipped for record in callback.gradients.values()) > 10
    assert all(tensor.isfinite().all() for tensor in weights(model).values())


@pytest.mark.parametrize("stops", [False, True])
def test_an_optimizer_that_skips_ten_steps_in_a_row_is_critical(
    stops: bool, caplog: pytest.LogCaptureFixture
) -> None:
    model = train("TD3")
    steps = model.num_timesteps
    spoil = At(steps + 5, fill("critic.qf0.0.weight", float("nan"), (0, 0)))
    callback = system(check_frequency=10_000, stop_training=stops)
    more(model, 60, [spoil, callback])
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    stuck = [line for line in errors if "takes no step any more: 10 in a row" in line]
    assert len(stuck) == 1 and "the parameter critic.qf0.0.weight" in stuck[0]
    # Skipped from the update of step 5 on: the tenth is that of step 14, seen in step 15.
    assert callback.gradients["critic.optimizer"].skipped == (10 if stops else 56)
    assert model.num_timesteps == steps + (15 if stops else 60)


@pytest.mark.parametrize(("what", "said"), [("reward", "reward"), ("observation", "feature 1")])
def test_training_is_refused_where_it_is_asked_for(what: str, said: str) -> None:
    model = made("SAC")
    model.set_env(model._wrap_env(Broken(what, 70)))
    with pytest.raises(NonFinite, match=said):
        model.learn(200, callback=system(on_non_finite="raise"))
    assert model.num_timesteps == 70


def test_a_parameter_that_is_not_finite_is_refused_at_the_next_check() -> None:
    model = train("DQN")
    steps = model.num_timesteps
    spoil = At(steps + 5, fill("q_net.q_net.0.weight", float("nan"), (0, 0)))
    with pytest.raises(NonFinite, match=r"q_net\.q_net\.0\.weight"):
        more(model, 100, [spoil, system(on_non_finite="raise", check_frequency=10)])
    assert model.num_timesteps == steps + 10


def test_the_last_observation_of_an_episode_is_looked_at() -> None:
    watch = NonFiniteWatch()
    steps = {
        "rewards": np.zeros(2, np.float32),
        "new_obs": np.zeros((2, 3), np.float32),
        "dones": np.array([False, True]),
        "infos": [{}, {"terminal_observation": np.array([0.0, 0.0, np.inf], np.float32)}],
    }
    assert watch.look(steps, 7) == (
        "the last observation of environment 1 is inf in feature 2, at 7 steps"
    )


def test_large_numbers_whose_squares_overflow_are_finite() -> None:
    watch = NonFiniteWatch()
    steps = {
        "rewards": np.full(1, 1e30, np.float32),
        "new_obs": {"a": np.full((1, 3), 3e38, np.float32), "b": np.zeros((1, 2), np.uint8)},
        "dones": np.zeros(1, bool),
        "infos": [{}],
    }
    assert watch.look(steps, 1) is None and watch.count == 0
    steps["new_obs"]["a"][0, 2] = np.nan  # type: ignore[call-overload]
    assert watch.look(steps, 2) == (
        "the observation of 'a' of environment 0 is nan in feature 2, at 2 steps"
    )


def test_health_names_the_reward_and_not_all_that_follows() -> None:
    model = made("SAC", batch_size=16, learning_starts=100)
    model.set_env(model._wrap_env(Broken("reward", 100)))
    health = TrainingHealthCallback()
    model.learn(300, callback=[system(), health])
    assert [(w.kind, w.quantity) for w in health.warnings] == [("non-finite", "reward")]


def test_nothing_is_drawn_or_changed_by_looking() -> None:
    state = th.random.get_rng_state()
    NonFiniteWatch().look({}, 0)
    assert th.equal(state, th.random.get_rng_state())
