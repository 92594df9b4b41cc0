"""What was carried out is read from the infos of every kind of environment."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from sacdoctor.training import ForcedActionWarmup, executed_action
from sacdoctor.training.warmup import was_forced

FORCED_TO = np.array([0.25, -0.5], np.float32)


class Short(gym.Env[Any, Any]):
    """Episodes of three steps."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Box(-1.0, 1.0, (2,))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._step = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self._step += 1
        return np.zeros(2, np.float32), 1.0, self._step == 3, False, {}


def forced(steps: int) -> ForcedActionWarmup[Any]:
    return ForcedActionWarmup(Short(), steps=steps, action=FORCED_TO)


def test_one_environment_reports_what_it_did() -> None:
    env = forced(1)
    env.reset()
    own = np.array([0.9, 0.9], np.float32)
    *_, info = env.step(own)
    stored = executed_action(info, own)
    assert np.array_equal(stored, FORCED_TO) and stored.dtype == own.dtype
    assert was_forced(info)
    *_, info = env.step(own)
    assert np.array_equal(executed_action(info, own), own)
    assert not was_forced(info)


def test_without_a_report_the_agents_action_is_what_happened() -> None:
    own = np.array([0.9])
    assert executed_action({}, own) is own
    assert not was_forced({})


def test_a_plain_number_stays_one() -> None:
    chosen = executed_action({"executed_action": np.int64(0)}, 3)
    assert (type(chosen), chosen) == (int, 0)
    assert executed_action({"executed_action": 0.0}, np.array([0.7])).tolist() == [0.0]


def test_a_tensor_stays_one() -> None:
    stored = executed_action({"executed_action": np.array([0.0, 0.5])}, th.tensor([0.1, 0.2]))
    assert th.equal(stored, th.tensor([0.0, 0.5]))
    assert executed_action({"executed_action": 2}, th.tensor(1)).dtype == th.int64


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\).*shape \(2,\)"):
        executed_action({"executed_action": np.zeros(3)}, np.zeros(2))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_rows_of_a_vector_environment_are_told_apart(mode: AutoresetMode) -> None:
    """The first environment forces four steps, the second two; both are reset on the way."""
    envs = SyncVectorEnv([lambda: forced(4), lambda: forced(2)], autoreset_mode=mode)
    envs.reset()
    own = np.array([[0.9, 0.8], [0.7, 0.6]], np.float32)
    left = [4, 2]
    resets = 0
    over = np.zeros(2, bool)
    for _ in range(7):
        *_, done, _, infos = envs.step(own)
        stored = executed_action(infos, own)
        for env in range(2):
            carried_out = not (over[env] and mode is AutoresetMode.NEXT_STEP)
            expected = FORCED_TO if carried_out and left[env] > 0 else own[env]
            assert np.array_equal(stored[env], expected)
            left[env] -= carried_out
            resets += not carried_out
        over = done
    assert resets == (2 if mode is AutoresetMode.NEXT_STEP else 0)
    assert own[0, 0] == np.float32(0.9)
    envs.close()


def test_the_infos_of_gymnasium_before_version_1() -> None:
    """`final_info` was an array with a dict or None per environment."""
    infos = {
        "executed_action": np.array([[0.0], [0.3]]),
        "_executed_action": np.array([False, True]),
        "final_info": np.array([{"executed_action": np.array([0.5])}, None], dtype=object),
        "_final_info": np.array([True, False]),
    }
    assert executed_action(infos, np.array([[0.1], [0.2]])).tolist() == [[0.5], [0.3]]


def test_the_list_of_infos_of_sb3s_environments() -> None:
    venv = DummyVecEnv([lambda: forced(1), lambda: forced(0)])
    venv.reset()
    own = np.array([[0.9, 0.8], [0.7, 0.6]], np.float32)
    *_, infos = venv.step(own)
    assert np.array_equal(executed_action(infos, own), [FORCED_TO, own[1]])
    assert was_forced(infos)
