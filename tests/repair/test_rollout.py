"""A policy comes back from what a healthy one did: observations and actions in a `.npz`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC

from fixtures.make import one_thread
from fixtures.policies import TwoHeadV11SigmoidFixed
from sacdoctor import SacdoctorError, load
from sacdoctor.history import find_donors
from sacdoctor.repair import RepairOptions, fix
from tests.repair import truth
from tests.torch_truth import state_dict

STEPS, OF_SEQUENCES = 1200, 500
"""Of a recurrent policy fewer: each waits for the one before it."""
TRUST = ("fixtures.policies",)
Arrays = dict[str, Any]


class Guess(gym.Env[Any, Any]):
    """Observations are drawn; episodes have ten steps. What is done does not matter."""

    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.observation_space.sample(), 0.0, self.steps == 10, False, {}

    def action_masks(self) -> Any:
        return np.ones(3, np.bool_)


VECTOR = spaces.Box(-1.0, 1.0, (4,), np.float32)
PARTS = spaces.Dict({"price": VECTOR, "held": spaces.Box(-1.0, 1.0, (1,), np.float32)})
BARS = spaces.Box(-1.0, 1.0, (4, 6), np.float32)
TWO_HEADS = spaces.Box(-1.0, 1.0, (4,), np.float32)
SMALL = {"policy_kwargs": {"net_arch": [16]}, "n_steps": 64, "batch_size": 64}
LSTM = {"policy_kwargs": {"net_arch": [16], "lstm_hidden_size": 16}, "n_steps": 64}
OWN = {"policy_kwargs": {"hidden_size": 16, "memory_slots": 8}, "n_steps": 64}
OFF = {"policy_kwargs": {"net_arch": [16]}, "learning_starts": 10}
CASES: dict[str, tuple[Any, str, Any, Any, dict[str, Any]]] = {
    "choices": (PPO, "MlpPolicy", VECTOR, spaces.Discrete(3), SMALL),
    "several choices": (PPO, "MlpPolicy", VECTOR, spaces.MultiDiscrete([3, 2]), SMALL),
    "parts": (PPO, "MultiInputPolicy", PARTS, spaces.Discrete(3), SMALL),
    "masks": (MaskablePPO, "MlpPolicy", VECTOR, spaces.Discrete(3), SMALL),
    "recurrent": (RecurrentPPO, "MlpLstmPolicy", VECTOR, spaces.Discrete(3), LSTM),
    "own layers": (RecurrentPPO, TwoHeadV11SigmoidFixed, BARS, TWO_HEADS, OWN),
    "off-policy": (SAC, "MlpPolicy", VECTOR, spaces.Box(-2.0, 2.0, (2,), np.float32), OFF),
    "values": (DQN, "MlpPolicy", VECTOR, spaces.Discrete(3), OFF),
}


def recorded(name: str, folder: Path) -> tuple[Any, Arrays]:
    """Save a hurt agent, and return it healthy with what it did."""
    algorithm, policy, observation, action, settings = CASES[name]
    steps = OF_SEQUENCES if algorithm is RecurrentPPO else STEPS
    env = Guess(observation, action)
    with one_thread():
        model = algorithm(policy, env, seed=0, device="cpu", **copy.deepcopy(settings))
        env.observation_space.seed(0)
        model.learn(64)
        draws = th.Generator().manual_seed(1)
        with th.no_grad():
            for key, parameter in model.policy.named_parameters():
                if "bias" in key:
                    parameter += 1.5 * th.randn(parameter.shape, generator=draws)
                elif key == "action_net.weight":
                    parameter *= 200.0  # SB3 makes it near 0
        seen, _ = env.reset(seed=0)
        observations, actions, starts = [], [], []
        state, start = None, True
        for _ in range(steps):
            done, state = model.predict(seen, state, np.array([start]), deterministic=False)
            observations.append(seen)
            actions.append(done)
            starts.append(start)
            seen, _, start, _, _ = env.step(done)
            if start:
                seen, _ = env.reset()
    arrays: Arrays = {"actions": np.array(actions), "episode_starts": np.array(starts)}
    if isinstance(observation, spaces.Dict):
        for key in observation.spaces:
            arrays[f"observations/{key}"] = np.array([one[key] for one in observations])
    else:
        arrays["observations"] = np.array(observations)
    if name == "masks":
        arrays["action_masks"] = np.ones((STEPS, 3), np.bool_)
    kept = {key: value.clone() for key, value in model.policy.state_dict().items()}
    with th.no_grad():
        for key, parameter in model.policy.named_parameters():
            if "bias" in key:
                parameter.zero_()
    model.save(folder / "model.zip")
    model.policy.load_state_dict(kept)
    return model, arrays


def choices(model: Any, arrays: Arrays) -> Any:
    """What it does, without chance, on what was observed."""
    found, state = [], None
    for row in range(200):
        seen = {k.partition("/")[2]: v[row] for k, v in arrays.items() if "observations" in k}
        start = arrays["episode_starts"][row : row + 1]
        done, state = model.predict(seen.get("", seen), state, start, deterministic=True)
        found.append(np.atleast_1d(done))
    return np.array(found, np.float64)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if CASES[n][0] is RecurrentPPO else n for n in CASES],
)
def test_a_policy_comes_back_from_what_a_healthy_one_did(tmp_path: Path, name: str) -> None:
    model, arrays = recorded(name, tmp_path)
    np.savez(tmp_path / "rollout.npz", **arrays)
    options = RepairOptions(trust=TRUST)
    result = fix(tmp_path / "model.zip", options=options, donor=tmp_path / "rollout.npz")
    (account,) = result.plan.refits
    assert (account.is_written, account.source) == (True, str(tmp_path / "rollout.npz"))
    before, after = (state_dict(tmp_path / f"model{end}.zip") for end in ("", "_FIXED"))
    truth.assert_only_zeros_changed(before, after)
    healthy = choices(model, arrays)
    dead, mended = (
        np.abs(choices(load(tmp_path / f"model{end}.zip", trust=TRUST), arrays) - healthy).mean()
        for end in ("", "_FIXED")
    )
    assert mended < 0.5 * dead


def test_rows_of_several_environments_are_taken_apart(tmp_path: Path) -> None:
    """(steps, environments, …), as SB3's own rollouts are; the same seed gives the same values."""
    _, arrays = recorded("choices", tmp_path)
    flat, turned = tmp_path / "flat.npz", tmp_path / "turned.npz"
    np.savez(flat, **arrays)
    halves = {
        key: array.reshape(2, STEPS // 2, *array.shape[1:]).swapaxes(0, 1)
        for key, array in arrays.items()
    }
    np.savez(turned, **halves)
    for path in (flat, turned):
        fix(tmp_path / "model.zip", output=path.with_suffix(".zip"), donor=path)
    one, two = (state_dict(path.with_suffix(".zip")) for path in (flat, turned))
    assert all(truth.same(one[name], two[name]) for name in one)


def test_what_is_no_rollout_is_refused_in_a_line(tmp_path: Path) -> None:
    _, arrays = recorded("choices", tmp_path)
    seen, actions = arrays["observations"], arrays["actions"]
    for kept, reason in (
        ({"observations": seen}, "no actions beside its observations"),
        ({"actions": actions, "rewards": actions}, "called observations"),
        ({"observations": seen[:-1], "actions": actions}, "not a row for each"),
        ({"observations": seen[:, :3], "actions": actions}, r"\(3,\), and the agent's have \(4,\)"),
        ({"observations": seen, "actions": np.stack([actions] * 2, 1)[..., None, None]}, "actions"),
        ({"observations/price": seen, "actions": actions}, "are price, and the agent's are one"),
        ({"observations": seen[:50], "actions": actions[:50]}, "50 usable rows"),
    ):
        np.savez(tmp_path / "other.npz", **kept)
        with pytest.raises(SacdoctorError, match=reason) as refused:
            fix(tmp_path / "model.zip", donor=tmp_path / "other.npz")
        assert refused.value.path == tmp_path / "other.npz"
        assert not (tmp_path / "model_FIXED.zip").exists()


def test_it_is_found_beside_an_agent_that_keeps_no_buffer(tmp_path: Path) -> None:
    _, arrays = recorded("choices", tmp_path)
    told = find_donors(tmp_path / "model.zip").unused
    assert "numpy.savez" in told[0].reason
    np.savez(tmp_path / "rollout.npz", **arrays)
    donors = find_donors(tmp_path / "model.zip")
    assert donors.buffer == tmp_path / "rollout.npz"
    assert donors.unused == ()
    repaired = fix(tmp_path / "model.zip", donor=donors).plan.repaired
    assert {repair.by for repair in repaired if "value" not in repair.name} == {"refit"}
