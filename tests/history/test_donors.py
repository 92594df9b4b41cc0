"""Where dead values may come from is found beside the checkpoint: its own run, and its buffer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import CheckpointCallback

from sacdoctor.history import find_donors
from tests.agents import VECTOR, TinyEnv
from tests.conftest import Run
from tests.torch_truth import state_dict

pytestmark = pytest.mark.slow

EVERY = 100
DEAD = "actor.latent_pi.0.bias"


def trained(folder: Path, *, seed: int = 0, steps: int = 400) -> SAC:
    """A run with a checkpoint every 100 steps, a replay buffer beside each, and `model.zip`."""
    env = TinyEnv(VECTOR, discrete=False)
    kwargs: dict[str, Any] = {"net_arch": [16, 16], "activation_fn": th.nn.Tanh}
    model = SAC(
        "MlpPolicy",
        env,
        learning_starts=20,
        seed=seed,
        policy_kwargs=kwargs,
        device="cpu",
        buffer_size=1000,
        batch_size=16,
    )
    saving = CheckpointCallback(EVERY, str(folder), save_replay_buffer=True)
    model.learn(steps - 50, callback=saving)
    model.learn(50, callback=saving, reset_num_timesteps=False)
    return model


def hurt(model: SAC, path: Path, pattern: str = DEAD) -> Path:
    kept = {name: value.clone() for name, value in model.policy.state_dict().items()}
    with th.no_grad():
        for name, parameter in model.policy.named_parameters():
            if "bias" in name and name.startswith(pattern):
                parameter.zero_()
    model.save(path)
    model.policy.load_state_dict(kept)
    return path


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    hurt(trained(folder), folder / "model.zip", "actor.")
    trained(folder / "another", seed=1, steps=200)
    return folder


def test_the_nearest_earlier_checkpoint_of_the_same_run_comes_first(run_folder: Path) -> None:
    donors = find_donors(run_folder / "model.zip")
    assert [(d.path.name, d.age) for d in donors.checkpoints] == [
        ("rl_model_400_steps.zip", 0),
        ("rl_model_300_steps.zip", 100),
        ("rl_model_200_steps.zip", 200),
        ("rl_model_100_steps.zip", 300),
    ]
    assert donors.are_found


def test_the_buffer_is_that_of_the_nearest_checkpoint_that_has_one(run_folder: Path) -> None:
    donors = find_donors(run_folder / "model.zip")
    assert donors.buffer == run_folder / "rl_model_replay_buffer_400_steps.pkl"


def test_the_first_checkpoint_of_a_run_has_no_earlier_one(run_folder: Path) -> None:
    donors = find_donors(run_folder / "rl_model_100_steps.zip")
    assert donors.checkpoints == ()
    assert donors.buffer == run_folder / "rl_model_replay_buffer_100_steps.pkl"


def test_what_is_dead_in_an_earlier_checkpoint_is_not_taken_from_it(tmp_path: Path) -> None:
    model = trained(tmp_path)
    hurt(model, tmp_path / "rl_model_400_steps.zip")
    hurt(model, tmp_path / "model.zip")
    nearest, next_one = find_donors(tmp_path / "model.zip").checkpoints[:2]
    assert (nearest.age, DEAD in nearest.sick) == (0, True)
    assert (next_one.age, DEAD in next_one.sick) == (100, False)


def test_a_repaired_copy_is_no_donor(run: Run, tmp_path: Path) -> None:
    model = trained(tmp_path)
    hurt(model, tmp_path / "model.zip")
    run("fix", tmp_path / "model.zip", "--donor", "auto")
    names = [donor.path.name for donor in find_donors(tmp_path / "model.zip").checkpoints]
    assert "model_FIXED.zip" not in names


def test_auto_takes_the_exact_value_and_says_from_where(
    run_folder: Path, run: Run, tmp_path: Path
) -> None:
    output = tmp_path / "out.zip"
    outcome = run(
        "fix", run_folder / "model.zip", "--donor", "auto", "--output", output, "--format", "json"
    )
    repaired = json.loads(outcome.out)["repaired"]
    donor = run_folder / "rl_model_400_steps.zip"
    assert {(entry["by"], entry["source"], entry["age"]) for entry in repaired} == {
        ("donor", str(donor), 0)
    }
    before, after = state_dict(donor), state_dict(output)
    assert all(th.equal(before[entry["name"]], after[entry["name"]]) for entry in repaired)


def test_auto_asks_the_target_before_an_earlier_checkpoint(run: Run, tmp_path: Path) -> None:
    model = trained(tmp_path)
    hurt(model, tmp_path / "model.zip", "critic.")
    outcome = run("fix", tmp_path / "model.zip", "--donor", "auto", "--format", "json")
    assert {entry["by"] for entry in json.loads(outcome.out)["repaired"]} == {"target"}


def test_auto_with_nothing_beside_it_draws_as_a_plain_fix_does(run: Run, tmp_path: Path) -> None:
    model = trained(tmp_path / "elsewhere")
    (tmp_path / "alone").mkdir()
    source = hurt(model, tmp_path / "alone" / "model.zip", "actor.")
    run("fix", source, "--donor", "auto", "--output", tmp_path / "a.zip")
    run("fix", source, "--output", tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
