"""The settings that a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sb3_contrib
import stable_baselines3
import torch as th

from sacdoctor.errors import SacdoctorError
from sacdoctor.settings.fix_config import FixedConfig, fix_config
from tests.archives import saved


def of(folder: Path, name: str, **arguments: Any) -> FixedConfig:
    """What is said of an agent that was saved untrained."""
    off_policy = name in ("SAC", "TD3", "DQN", "QRDQN")
    env = "Pendulum-v1" if name in ("SAC", "TD3") else "CartPole-v1"
    module = stable_baselines3 if hasattr(stable_baselines3, name) else sb3_contrib
    options = {"buffer_size": 1_000} if off_policy else {}
    getattr(module, name)("MlpPolicy", env, **options, **arguments).save(folder / "model.zip")
    return fix_config(folder / "model.zip")


def test_the_reported_rate(tmp_path: Path) -> None:
    fixed = of(tmp_path, "SAC", learning_rate=5e-3)
    (change,) = fixed.changes
    assert (change.key, change.before, change.after) == ("learning_rate", "5e-3", "1e-4")
    assert change.verdict.severity == "critical"
    assert "learning_rate: 1.0e-4  # was 5e-3; safe: 1e-5 to 3e-4\n" in fixed.as_text()


@pytest.mark.parametrize("name", ["SAC", "TD3", "DQN", "QRDQN", "PPO", "A2C", "TRPO"])
def test_sb3s_defaults_need_no_change(tmp_path: Path, name: str) -> None:
    fixed = of(tmp_path, name)
    assert fixed.changes == ()
    assert fixed.settings is not None and fixed.settings.algorithm == name


def test_gradient_clipping_is_judged_where_the_constructor_takes_it(tmp_path: Path) -> None:
    (change,) = of(tmp_path, "PPO", max_grad_norm=100.0).changes
    assert (change.key, change.before, change.after) == ("max_grad_norm", "100", "1")


def test_a_schedule_is_judged_by_what_it_has_come_to(tmp_path: Path) -> None:
    fixed = of(tmp_path, "SAC", learning_rate=lambda progress: 5e-3 * progress)
    (change,) = fixed.changes
    assert (change.before, change.after) == ("a schedule at 5e-3", "1e-4")


def test_a_schedule_that_has_decayed_says_nothing(tmp_path: Path) -> None:
    fixed = of(tmp_path, "SAC", learning_rate=lambda progress: 1e-9)
    assert fixed.changes == ()
    assert "learning_rate" not in fixed.as_text()
    assert "learning_rate=1e-4," in fixed.as_python()


def test_a_rate_of_0_is_what_was_put_in_place_of_a_schedule(tmp_path: Path) -> None:
    fixed = of(tmp_path, "A2C", learning_rate=0.0)
    assert fixed.changes == ()
    assert "learning_rate" not in fixed.as_text()


def test_the_option_outranks_the_file(tmp_path: Path) -> None:
    of(tmp_path, "PPO", learning_rate=5e-5)
    assert fix_config(tmp_path / "model.zip").changes == ()
    (change,) = fix_config(tmp_path / "model.zip", algorithm="a2c").changes
    assert change.after == "7e-4"


def test_a_checkpoint_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    of(tmp_path, "SAC", learning_rate=5e-3)
    (tmp_path / "model.zip").rename(tmp_path / "model")
    assert len(fix_config(tmp_path / "model").changes) == 1


def test_a_bare_state_dict_holds_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "policy.pth"
    path.write_bytes(saved({"actor.mu.bias": th.ones(4)}))
    with pytest.raises(SacdoctorError, match=r"policy\.pth: it is a bare state dict"):
        fix_config(path)


def test_a_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(SacdoctorError, match=r"model\.zip: "):
        fix_config(path)
