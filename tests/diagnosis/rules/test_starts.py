"""SD406 and SD408: what a run was too short for, and runs that hardly learn from what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch as th

from sacdoctor import scan
from tests.diagnosis.handmade import DQN, SAC, finding, report

TD3 = {"target_noise_clip": 0.5, "target_policy_noise": 0.2}


def severity(folder: Path, code: str, settings: dict[str, Any]) -> str | None:
    one = finding(report(folder, {"net.bias": th.ones(2)}, settings), code)
    return None if one is None else one.severity.value


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({**SAC, "learning_starts": 20_000, "_n_updates": 0}, "warning"),
        ({**SAC, "learning_starts": 10_000, "_n_updates": 0}, "warning"),
        ({**SAC, "learning_starts": 9_999, "_n_updates": 0}, None),
        ({**SAC, "learning_starts": 20_000, "_n_updates": 0, "_total_timesteps": 50_000}, None),
        ({**SAC, "learning_starts": 20_000, "_n_updates": 500}, None),  # resumed
        ({**SAC, "target_update_interval": 20_000}, None),  # SB3 counts it per call of train
        ({**DQN, "target_update_interval": 10_001, "_n_calls": 10_000}, "warning"),
        ({**DQN, "target_update_interval": 10_000, "_n_calls": 10_000}, None),
        ({**DQN, "target_update_interval": 20_000, "_n_calls": 40_000}, None),
        ({**DQN, "target_update_interval": 20_000}, None),
        (
            {**DQN, "target_update_interval": 20_000, "_n_calls": 10, "_total_timesteps": 30_000},
            None,
        ),
        ({**TD3, "policy_delay": 20_000, "num_timesteps": 10_000, "_n_updates": 9_900}, "warning"),
        ({**TD3, "policy_delay": 2, "num_timesteps": 10_000, "_n_updates": 9_900}, None),
        ({**SAC, "learning_starts": 20_000, "_n_updates": 0, "_total_timesteps": None}, None),
    ],
)
def test_what_begins_after_the_end(
    tmp_path: Path, settings: dict[str, Any], expected: str | None
) -> None:
    assert severity(tmp_path, "SD406", {"_total_timesteps": 10_000, **settings}) == expected


def test_sb3s_default_interval_leaves_the_target_of_a_short_run_as_it_was(tmp_path: Path) -> None:
    model = stable_baselines3.DQN("MlpPolicy", "CartPole-v1", learning_starts=10, device="cpu")
    before = [p.clone() for p in model.q_net_target.parameters()]
    model.learn(200)
    after = model.q_net_target.parameters()
    assert all(th.equal(old, new) for old, new in zip(before, after, strict=True))
    model.save(tmp_path / "m.zip")
    found = finding(scan(tmp_path / "m.zip"), "SD406")
    assert found is not None
    assert "target_update_interval 10,000; the run has 200 steps" in found.evidence


@pytest.mark.parametrize(
    ("settings", "steps", "updates", "expected"),
    [
        (SAC, 3_200, 194, "warning"),  # 16 environments, gradient_steps 1
        (SAC, 3_200, 3_100, None),
        (SAC, 1_000_000, 62_500, "notice"),
        (SAC, 3_200, 400, None),
        (SAC, 199, 2, None),
        (DQN, 3_200, 194, None),
        (DQN, 3_200, 6, "warning"),  # train_freq 500
        (DQN, 10_000_000, 2_475_000, None),  # Atari
        (SAC, 3_200, 0, None),
        ({"clip_range": 0.2}, 1_000_000, 10, None),
    ],
)
def test_updates_are_held_against_transitions(
    tmp_path: Path, settings: dict[str, Any], steps: int, updates: int, expected: str | None
) -> None:
    run = {"num_timesteps": steps, "_n_updates": updates, "learning_starts": 100}
    assert severity(tmp_path, "SD408", {**settings, **run}) == expected
