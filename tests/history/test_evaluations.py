"""`evaluations.npz` of SB3's `EvalCallback`: read without unpickling, judged like other returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.monitor import Monitor

from sacdoctor import read_history
from sacdoctor.errors import SacdoctorError
from sacdoctor.history.evaluations import read_evaluations
from tests.agents import VECTOR, TinyEnv

EVERY, EVALUATIONS, FAULT = 20, 40, 400


class _Breaks(BaseCallback):
    """From `FAULT` on the policy's actions are at their limits: 10 steps, 2 actions, -1 each."""

    def _on_step(self) -> bool:
        if self.num_timesteps == FAULT:
            policy: Any = self.model.policy
            layer = policy.action_net if isinstance(self.model, PPO) else policy.actor.mu
            with th.no_grad():
                layer.bias.fill_(10.0)
        return True


def evaluated(folder: Path, algorithm: type[BaseAlgorithm], *callbacks: BaseCallback) -> Path:
    """An agent that does not learn, so that what it does changes only where it is broken."""
    settings: dict[str, Any] = {"n_steps": 100, "batch_size": 50, "learning_rate": 0.0}
    if algorithm is SAC:
        settings = {"learning_starts": 10_000, "buffer_size": 1_000}
    env, other = TinyEnv(VECTOR, False), Monitor(TinyEnv(VECTOR, False))
    evaluation = EvalCallback(other, eval_freq=EVERY, log_path=str(folder), verbose=0)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **settings)
    model.learn(EVERY * EVALUATIONS, callback=CallbackList([*callbacks, evaluation]))
    return folder


def written(folder: Path, *means: float) -> Path:
    """Evaluations of three episodes each with these means, as `EvalCallback` writes them."""
    np.savez(
        folder / "evaluations",
        timesteps=[EVERY * n for n in range(1, len(means) + 1)],
        results=[[mean - 1.0, mean, mean + 1.0] for mean in means],
        ep_lengths=[[10, 10, 10] for _ in means],
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [PPO, SAC], ids=lambda cls: cls.__name__)
def test_policy_that_broke_is_a_crash(tmp_path: Path, algorithm: type[BaseAlgorithm]) -> None:
    history = read_history(evaluated(tmp_path, algorithm, _Breaks()))
    (crash,) = history.crashes
    assert crash.log == "evaluations.npz"
    assert crash.episode is None
    assert crash.timesteps == FAULT
    assert crash.after == pytest.approx(-20.0, abs=3.0)
    (curve,) = history.curves
    assert curve.evaluations == EVALUATIONS
    assert curve.timesteps == tuple(EVERY * n for n in range(1, EVALUATIONS + 1))
    assert len(curve.points) == EVALUATIONS


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [PPO, SAC], ids=lambda cls: cls.__name__)
def test_policy_that_did_not_has_none(tmp_path: Path, algorithm: type[BaseAlgorithm]) -> None:
    assert read_history(evaluated(tmp_path, algorithm)).crashes == ()


def test_each_evaluation_counts_by_its_mean(tmp_path: Path) -> None:
    (log,), errors = read_evaluations(written(tmp_path, 1.0, 5.0, np.nan, 2.0))
    assert errors == []
    assert log.timesteps.tolist() == [20, 40, 80]
    assert log.returns.tolist() == [1.0, 5.0, 2.0]
    assert log.non_finite.tolist() == [60]


def test_few_evaluations_are_told_of(tmp_path: Path) -> None:
    history = read_history(written(tmp_path, *[1.0] * 5))
    assert [note.message for note in history.notes] == [
        "5 evaluations are too few to judge the reward (20 are needed)"
    ]


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return (exec, ("raise SystemExit",))

    bad = np.array([Payload()], dtype=object)
    np.savez(tmp_path / "evaluations.npz", timesteps=np.array([1]), results=bad)
    (error,) = read_evaluations(tmp_path)[1]
    assert "Python objects" in error.reason


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"version https://git-lfs"], ids=repr)
def test_what_is_no_such_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "evaluations.npz").write_bytes(data)
    (error,) = read_evaluations(tmp_path)[1]
    assert isinstance(error, SacdoctorError)
    (note,) = read_history(tmp_path).notes
    assert note.path.endswith("evaluations.npz")
