"""The environment's side of a warm-up: which action is carried out, and what the infos say."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from sacdoctor.training import ForcedActionWarmup


class Recorder(gym.Env[Any, Any]):
    """Keeps the actions that reach it; episodes of three steps."""

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.reached: list[Any] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.reached.append(np.array(action))
        finished = len(self.reached) % 3 == 0
        if isinstance(action, np.ndarray) and action.ndim:
            action[...] = 0  # an environment that works in place
        return np.zeros(1, np.float32), 0.0, False, finished, {"own": True}


PRICE = spaces.Box(np.array([0.0, -4.0], np.float32), np.array([10.0, 4.0], np.float32))


def run(env: ForcedActionWarmup[Any], actions: list[Any]) -> list[dict[str, Any]]:
    env.reset(seed=3)
    infos = []
    for action in actions:
        *_, finished, info = env.step(action)
        infos.append(info)
        if finished:
            env.reset()
    return infos


def test_the_first_steps_are_forced_across_episodes_and_the_rest_are_the_agents() -> None:
    inner = Recorder(PRICE)
    own = [np.array([step, 1.0], np.float32) for step in range(1, 8)]
    infos = run(ForcedActionWarmup(inner, steps=5, action=2.0), own)
    expected = [np.array([2.0, 2.0])] * 5 + own[5:]
    np.testing.assert_array_equal(inner.reached, expected)
    np.testing.assert_array_equal([info["executed_action"] for info in infos], expected)
    assert [info["forced"] for info in infos] == [True] * 5 + [False] * 2
    assert all(info["own"] for info in infos)


@pytest.mark.parametrize(
    ("space", "action", "expected"),
    [
        (PRICE, 1.5, [1.5, 1.5]),
        (PRICE, [7.0, -4.0], [7.0, -4.0]),
        (spaces.Discrete(3), 0.0, 0),
        (spaces.Discrete(3, start=1), 3, 3),
        (spaces.MultiDiscrete([3, 4]), 2, [2, 2]),
        (spaces.MultiDiscrete([3, 4]), [0, 3], [0, 3]),
        (spaces.MultiBinary(3), 1, [1, 1, 1]),
    ],
)
def test_a_number_fills_the_space_and_an_array_is_taken_as_it_is(
    space: spaces.Space[Any], action: Any, expected: Any
) -> None:
    inner = Recorder(space)
    (info,) = run(ForcedActionWarmup(inner, steps=1, action=action), [space.sample()])
    np.testing.assert_array_equal(inner.reached[0], expected)
    assert space.contains(info["executed_action"])


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (PRICE, -1.0),  # below the first dimension's bound
        (PRICE, [1.0, 1.0, 1.0]),
        (PRICE, [[1.0, 1.0]]),
        (PRICE, float("nan")),
        (PRICE, "hold"),
        (PRICE, None),
        (spaces.Discrete(3), 3),
        (spaces.Discrete(3), 0.5),
        (spaces.Discrete(3, start=1), 0),
        (spaces.Discrete(3), [0]),
        (spaces.MultiDiscrete([3, 4]), 3),
        (spaces.MultiBinary(2), 2),
        (spaces.Box(-np.inf, np.inf, (1,), np.float32), np.inf),
        (spaces.Dict({"a": spaces.Discrete(2)}), 0.0),
    ],
)
def test_an_action_outside_the_space_is_refused_at_construction(
    space: spaces.Space[Any], action: Any
) -> None:
    with pytest.raises(ValueError):
        ForcedActionWarmup(Recorder(space), action=action)


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        ForcedActionWarmup(Recorder(PRICE), steps=-1)


def test_random_actions_vary_repeat_with_the_seed_and_lie_in_the_space() -> None:
    def forced(seed: int) -> list[Any]:
        env = ForcedActionWarmup(Recorder(PRICE), steps=20, action="random")
        env.reset(seed=seed)
        return [env.step(PRICE.high)[4]["executed_action"] for _ in range(20)]

    first = forced(1)
    assert all(PRICE.contains(action) for action in first)
    assert np.std(first, axis=0).min() > 0.5
    np.testing.assert_array_equal(first, forced(1))
    assert not np.array_equal(first, forced(2))


def test_drawing_forced_actions_leaves_the_environments_own_generators_alone() -> None:
    inner = Recorder(PRICE)
    inner.action_space.seed(5)
    expected = [inner.action_space.sample() for _ in range(3)]
    inner.action_space.seed(5)
    run(ForcedActionWarmup(inner, steps=4, action="random"), [PRICE.high] * 4)
    np.testing.assert_array_equal([inner.action_space.sample() for _ in range(3)], expected)


def test_each_copy_of_a_vectorised_environment_counts_its_own_steps() -> None:
    venv = DummyVecEnv([lambda: ForcedActionWarmup(Recorder(PRICE), steps=2)] * 3)
    venv.reset()
    forced = []
    for _ in range(3):
        *_, infos = venv.step(np.ones((3, 2), np.float32))
        forced.append([info["forced"] for info in infos])
    assert forced == [[True] * 3, [True] * 3, [False] * 3]


def test_steps_that_a_run_has_behind_it_are_not_forced_again() -> None:
    env = ForcedActionWarmup(Recorder(PRICE), steps=4)
    env.advance_forced_steps(3)
    env.advance_forced_steps(1)  # never back
    infos = run(env, [PRICE.high] * 3)
    assert [info["forced"] for info in infos] == [True, False, False]
