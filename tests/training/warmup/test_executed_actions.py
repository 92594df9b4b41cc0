"""What the replay buffer holds is what the environment did."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common import buffers
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

from fixtures.environments import Tracking
from sacdoctor.training import ExecutedActionReplayBuffer, ForcedActionWarmup
from sacdoctor.training.warmup.executed_actions import (
    ExecutedActionDictReplayBuffer,
    ExecutedActionMixin,
)

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "learning_starts": 20,
    "batch_size": 16,
    "buffer_size": 300,
    "seed": 0,
    "device": "cpu",
}


class Echo(gym.Env[Any, Any]):
    """Observes the action that reached it, in its own units: the next observation is the truth."""

    def __init__(self) -> None:
        low, high = np.array([0.0, -4.0], np.float32), np.array([10.0, 2.0], np.float32)
        self.action_space = spaces.Box(low, high)
        self.observation_space = spaces.Box(low, high)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._step = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self._step += 1
        return np.array(action, np.float32), 1.0, False, self._step == 7, {}


def settings(**more: Any) -> dict[str, Any]:
    return {"policy_kwargs": {"net_arch": [8]}, **SETTINGS, **more}


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("algorithm", [SAC, TD3])
def test_stored_actions_are_the_executed_ones_in_sb3s_scale(algorithm: Any, copies: int) -> None:
    venv = DummyVecEnv([lambda: ForcedActionWarmup(Echo(), steps=30, action=[2.5, -1.0])] * copies)
    model = algorithm(
        "MlpPolicy", venv, replay_buffer_class=ExecutedActionReplayBuffer, **settings()
    )
    model.learn(60 * copies)
    buffer = model.replay_buffer
    executed = buffer.next_observations[: buffer.pos]
    assert buffer.pos == 60
    np.testing.assert_allclose(
        buffer.actions[:60], model.policy.scale_action(executed), rtol=0, atol=1e-6
    )
    # 2.5 lies at a quarter of 0…10, which is -0.5; -1.0 in the middle of -4…2
    np.testing.assert_allclose(
        buffer.actions[:30], np.tile([-0.5, 0.0], (30, copies, 1)), rtol=0, atol=1e-7
    )
    assert np.std(buffer.actions[30:60]) > 0.05


def test_the_plain_buffer_stores_actions_that_never_happened() -> None:
    model = SAC("MlpPolicy", ForcedActionWarmup(Echo(), steps=30), **settings())
    model.learn(30)
    buffer: Any = model.replay_buffer
    executed = model.policy.scale_action(buffer.next_observations[:30])
    assert np.abs(buffer.actions[:30] - executed).max() > 0.5


def test_discrete_actions_are_stored_as_they_are() -> None:
    model = DQN(
        "MlpPolicy",
        ForcedActionWarmup(Tracking("discrete"), steps=25, action=2),
        replay_buffer_class=ExecutedActionReplayBuffer,
        **settings(),
    )
    model.learn(50)
    buffer: Any = model.replay_buffer
    assert (buffer.actions[:25] == 2).all()
    assert len(np.unique(buffer.actions[25:50])) > 1


def test_dict_observations_have_their_own_buffer() -> None:
    env = gym.wrappers.TransformObservation(
        Echo(), lambda seen: {"echo": seen}, spaces.Dict({"echo": Echo().observation_space})
    )
    model = SAC(
        "MultiInputPolicy",
        ForcedActionWarmup(env, steps=30, action=[2.5, -1.0]),
        replay_buffer_class=ExecutedActionDictReplayBuffer,
        **settings(),
    )
    model.learn(45)
    buffer: Any = model.replay_buffer
    executed = buffer.next_observations["echo"][:45]
    np.testing.assert_allclose(
        buffer.actions[:45], model.policy.scale_action(executed), rtol=0, atol=1e-6
    )


def test_n_step_buffers_take_the_mixin() -> None:
    if not hasattr(buffers, "NStepReplayBuffer"):
        pytest.skip("this SB3 has no n-step buffer")

    class ExecutedNStep(ExecutedActionMixin, buffers.NStepReplayBuffer):  # type: ignore[misc]
        pass

    model = SAC(
        "MlpPolicy",
        ForcedActionWarmup(Echo(), steps=30, action=[2.5, -1.0]),
        replay_buffer_class=ExecutedNStep,
        **settings(replay_buffer_kwargs={"n_steps": 3, "gamma": 0.9}),
    )
    model.learn(40)
    buffer: Any = model.replay_buffer
    np.testing.assert_allclose(buffer.actions[:30, 0], [[-0.5, 0.0]] * 30, rtol=0, atol=1e-7)
    assert buffer.sample(8).rewards.max() == pytest.approx(1 + 0.9 + 0.81)


def test_where_nothing_is_forced_the_training_is_bit_for_bit_that_of_the_plain_buffer() -> None:
    def weights(buffer: type[ReplayBuffer]) -> dict[str, Any]:
        env = ForcedActionWarmup(Echo(), steps=0)
        model = SAC("MlpPolicy", env, replay_buffer_class=buffer, **settings())
        model.learn(60)
        return model.policy.state_dict()

    plain, executed = weights(ReplayBuffer), weights(ExecutedActionReplayBuffer)
    assert all((plain[name] == executed[name]).all() for name in plain)


def test_infos_without_the_key_keep_the_given_action() -> None:
    space = Echo().action_space
    buffer = ExecutedActionReplayBuffer(10, Echo().observation_space, space, n_envs=3)
    given = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32)
    seen = np.zeros((3, 2), np.float32)
    reported = {"executed_action": np.array([5.0, 2.0], np.float32)}
    buffer.add(seen, seen, given, np.zeros(3), np.zeros(3), [{}, reported, {}])
    np.testing.assert_array_equal(
        buffer.actions[0], np.array([[0.1, 0.2], [0.0, 1.0], [0.5, 0.6]], np.float32)
    )
    assert given[1, 0] == np.float32(0.3)  # the caller's array is not touched


def test_an_executed_action_of_another_shape_is_refused() -> None:
    buffer = ExecutedActionReplayBuffer(10, Echo().observation_space, Echo().action_space)
    seen = np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match=r"environment 0 .* shape \(3,\)"):
        buffer.add(seen, seen, seen, seen, seen, [{"executed_action": np.zeros(3)}])


def test_the_buffer_survives_saving_and_loading(tmp_path: Path) -> None:
    def model() -> SAC:
        env = ForcedActionWarmup(Echo(), steps=30, action=[2.5, -1.0])
        return SAC("MlpPolicy", env, replay_buffer_class=ExecutedActionReplayBuffer, **settings())

    trained = model()
    trained.learn(40)
    trained.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = model()
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    buffer: Any = loaded.replay_buffer
    assert isinstance(buffer, ExecutedActionReplayBuffer)
    np.testing.assert_array_equal(buffer.actions, trained.replay_buffer.actions)
    loaded.learn(5)
    assert buffer.pos == 45
