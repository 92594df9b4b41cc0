"""SD201 for every algorithm: that nothing was trained, what the first update waits for, and not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch as th

from sacdoctor import Finding, scan
from tests.diagnosis.handmade import finding


def sac(**settings: Any) -> stable_baselines3.SAC:
    return stable_baselines3.SAC("MlpPolicy", "Pendulum-v1", device="cpu", **settings)


def said(folder: Path, model: Any) -> Finding | None:
    model.save(folder / "m.zip")
    return finding(scan(folder / "m.zip"), "SD201")


def test_model_that_never_learned(tmp_path: Path) -> None:
    found = said(tmp_path, sac())
    assert found is not None
    assert found.severity == "warning"
    assert found.message == "the model was never trained"
    assert "before `learn` took a step" in found.evidence


def test_checkpoint_from_before_learning_starts(tmp_path: Path) -> None:
    model = sac(learning_starts=50)
    model.learn(40)
    model._total_timesteps = 1_000  # as a callback saves it on the way
    found = said(tmp_path, model)
    assert found is not None
    assert found.severity == "notice"
    assert "at 40 steps, and updates begin after learning_starts 50" in found.evidence


def test_run_that_ends_before_learning_starts_is_told_once(tmp_path: Path) -> None:
    model = sac(learning_starts=50)
    model.learn(40)
    assert said(tmp_path, model) is None
    assert finding(scan(tmp_path / "m.zip"), "SD406") is not None


def test_rollout_that_is_not_over_yet(tmp_path: Path) -> None:
    model = stable_baselines3.PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu")
    model.num_timesteps = 40
    found = said(tmp_path, model)
    assert found is not None
    assert "n_steps x n_envs = 64" in found.remedy


def test_policy_that_was_trained_by_other_means_is_not_untrained(tmp_path: Path) -> None:
    """Behaviour cloning, with an optimizer of its own: SB3's counters say nothing of it."""
    model = sac()
    optimizer = th.optim.Adam(model.actor.parameters(), lr=1e-2)
    observations = th.randn(64, 3, generator=th.Generator().manual_seed(0))
    for _ in range(50):
        loss = (model.actor(observations, deterministic=True) - 0.9).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert said(tmp_path, model) is None


def test_trained_model_is_not_untrained(tmp_path: Path) -> None:
    model = sac(learning_starts=10)
    model.learn(40)
    assert said(tmp_path, model) is None


@pytest.mark.parametrize("algorithm", ["TD3", "DDPG"])
def test_other_algorithms(tmp_path: Path, algorithm: str) -> None:
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", "Pendulum-v1", device="cpu")
    assert said(tmp_path, model) is not None
