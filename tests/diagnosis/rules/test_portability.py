"""SD805: spaces of gym, which SB3 from 2.0 on cannot load without it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from stable_baselines3 import PPO

from fixtures.faulty_training import name_spaces_as_gym
from sacdoctor.diagnosis import scan
from sacdoctor.model import Finding
from sacdoctor.report.verdict import verdict
from tests.conftest import Run


def found(path: Path) -> list[Finding]:
    return [finding for finding in scan(path).findings if finding.rule == "SD805"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.zip"
    PPO("MlpPolicy", "CartPole-v1", n_steps=32, policy_kwargs={"net_arch": [8]}).save(path)
    return path


def test_spaces_of_gymnasium_are_nothing_to_say(model: Path) -> None:
    assert found(model) == []


@pytest.mark.skipif(importlib.util.find_spec("gym") is not None, reason="gym is installed")
def test_spaces_of_gym_are_named_and_sb3_does_not_load_them(model: Path) -> None:
    spaces = PPO.load(model)
    name_spaces_as_gym(model)
    (finding,) = found(model)
    assert finding.severity == "notice"
    assert "observation_space and action_space in `data`" in finding.evidence
    assert "gym.spaces.box, gym.spaces.discrete" in finding.evidence
    with pytest.raises((ModuleNotFoundError, KeyError)):
        PPO.load(model)
    replaced = {
        "observation_space": spaces.observation_space,
        "action_space": spaces.action_space,
    }
    PPO.load(model, custom_objects=replaced).save(model)
    PPO.load(model)
    assert found(model) == []


def test_it_is_said_in_passing(model: Path) -> None:
    before = scan(model)
    name_spaces_as_gym(model)
    after = scan(model)
    assert [finding.rule for finding in after.findings if finding.in_passing] == ["SD805"]
    assert after.status == before.status
    assert verdict(after) == f"{verdict(before)} Also: SD805."


def test_it_raises_nothing_in_ci(run: Run, model: Path) -> None:
    name_spaces_as_gym(model)
    assert run("scan", "--fail-on", "warning", "--select", "SD805", model).code == 0
