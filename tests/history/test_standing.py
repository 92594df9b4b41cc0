"""SD210 and SD209 in a run: networks that stand still, and targets that do not follow."""

from __future__ import annotations

from pathlib import Path

import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback

from sacdoctor import read_history
from sacdoctor.model import Finding
from tests.runs import FAULT, STEPS, Runs, strip_optimizers


def found(folder: Path, code: str) -> Finding | None:
    (run,) = read_history(folder).runs
    return next((finding for finding in run.findings if finding.rule == code), None)


@pytest.mark.parametrize(
    ("kind", "network"), [("frozen actor", "actor"), ("frozen critic", "critic")]
)
def test_frozen_network_stands_still_from_its_fault_on(runs: Runs, kind: str, network: str) -> None:
    told = found(runs(kind), "SD210")
    assert told is not None
    assert told.severity == "warning"
    assert told.message == f"the {network} stands still"
    after = FAULT + 50  # the first checkpoint behind it
    assert f"identical from {after:,} to {STEPS:,} steps" in told.evidence
    assert all(name.startswith(f"{network}.") for name in told.tensors)


def test_it_needs_no_optimizers(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("frozen actor", tmp_path / "run")
    strip_optimizers(folder)
    assert found(folder, "SD210") is not None


def test_target_left_behind_by_its_online_network(runs: Runs) -> None:
    told = found(runs("target left behind"), "SD209")
    assert told is not None
    assert told.severity == "critical"
    assert told.message == "the critic target does not follow"
    assert told.tensors and all(name.startswith("critic_target.") for name in told.tensors)


@pytest.mark.parametrize("kind", ["healthy SAC", "healthy PPO", "healthy TD3", "crash", "frozen"])
def test_what_moves_is_not_spoken_of(runs: Runs, kind: str) -> None:
    assert found(runs(kind), "SD210") is None
    assert found(runs(kind), "SD209") is None


def test_a_copy_of_the_last_checkpoint_is_no_standstill(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    last = folder / f"rl_model_{STEPS}_steps.zip"
    (folder / "final.zip").write_bytes(last.read_bytes())
    assert found(folder, "SD210") is None


class Forgetful(PPO):
    """A loop without `obs = new_obs`: RLMutation's missing state update."""

    def __setattr__(self, name: str, value: object) -> None:
        if name != "_last_obs" or self.__dict__.get(name) is None:
            super().__setattr__(name, value)


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1"])
@pytest.mark.parametrize(("algorithm", "is_said"), [(Forgetful, True), (PPO, False)])
def test_an_observation_that_is_never_replaced(
    tmp_path: Path, algorithm: type[PPO], is_said: bool, env: str
) -> None:
    model = algorithm("MlpPolicy", env, n_steps=64, n_epochs=1, seed=0, device="cpu")
    model.learn(320, callback=CheckpointCallback(63, str(tmp_path)))
    told = found(tmp_path, "SD903")
    assert (told is not None) is is_said
    if told is not None:
        assert told.severity == "warning"
        assert "from 63 to 315 steps" in told.evidence
