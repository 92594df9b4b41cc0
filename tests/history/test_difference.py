"""Two checkpoints compared: all that differs is named, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC

from fixtures.make import CHECKPOINTS
from sacdoctor import CheckpointError, diff
from sacdoctor.history import Difference
from sacdoctor.repair import RepairOptions, fix
from tests.archives import saved, write_sb3
from tests.torch_truth import state_dict

BROKEN = CHECKPOINTS / "sac_two_head_broken.zip"


def differing(difference: Difference) -> set[str]:
    return {tensor.name for tensor in difference.tensors if tensor.status != "identical"}


@pytest.fixture(scope="module")
def sac(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run's checkpoint after 30 steps and after 60."""
    folder = tmp_path_factory.mktemp("sac")
    model = SAC(
        "MlpPolicy", "Pendulum-v1", learning_starts=10, policy_kwargs={"net_arch": [8]}, seed=0
    )
    for steps in (30, 60):
        model.learn(30, reset_num_timesteps=False)
        model.save(folder / f"{steps}.zip")
    return folder / "30.zip", folder / "60.zip"


def test_a_file_and_its_copy_are_the_same(tmp_path: Path) -> None:
    copy = tmp_path / "copy.zip"
    copy.write_bytes(BROKEN.read_bytes())
    difference = diff(BROKEN, copy)
    assert difference.is_empty
    assert {tensor.name for tensor in difference.tensors} >= {*state_dict(BROKEN)} - {
        "log_ent_coef"
    }
    assert difference.same_settings > 50


def test_a_repair_changed_the_repaired_biases_their_moments_and_nothing_else(
    tmp_path: Path,
) -> None:
    result = fix(BROKEN, output=tmp_path / "fixed.zip")
    difference = diff(BROKEN, tmp_path / "fixed.zip")
    repaired = {repair.name for repair in result.plan.repaired}
    assert repaired and differing(difference) == repaired
    before, after = state_dict(BROKEN), state_dict(tmp_path / "fixed.zip")
    for tensor in difference.tensors:
        if tensor.name in before:
            assert tensor.changed == int((before[tensor.name] != after[tensor.name]).sum())
    moments = {m.name for m in difference.optimizer if m.status != "identical"}
    assert moments == {reset.name for reset in result.plan.optimizer} <= repaired
    assert difference.settings == ()


def test_settings_that_a_repair_corrected(tmp_path: Path) -> None:
    fix(BROKEN, output=tmp_path / "f.zip", options=RepairOptions(learning_rate=1e-4))
    settings = {s.key: (s.before, s.after) for s in diff(BROKEN, tmp_path / "f.zip").settings}
    assert settings.pop("lr_schedule")[1] is None
    assert settings == {
        "learning_rate": (3e-4, 1e-4),
        "actor.optimizer.lr": (3e-4, 1e-4),
        "critic.optimizer.lr": (3e-4, 1e-4),
        "ent_coef_optimizer.lr": (3e-4, 1e-4),
    }


def test_what_training_moved(sac: tuple[Path, Path]) -> None:
    difference = diff(*sac)
    before, after = (SAC.load(path, device="cpu") for path in sac)
    old, new = before.policy.state_dict(), after.policy.state_dict()
    assert differing(difference) - {"log_ent_coef"} == {
        name for name in old if not th.equal(old[name], new[name])
    }
    by_name = {tensor.name: tensor for tensor in difference.tensors}
    weight = by_name["actor.mu.weight"]
    gap = (new["actor.mu.weight"] - old["actor.mu.weight"]).double()
    assert weight.component == "actor"
    assert weight.max_abs == pytest.approx(float(gap.abs().max()))
    assert weight.relative_l2 == pytest.approx(
        float(gap.norm() / old["actor.mu.weight"].double().norm()), rel=1e-6
    )
    assert by_name["log_ent_coef"].component == "variables"
    steps = {m.name: m for m in difference.optimizer if m.moment == "step"}
    assert steps["actor.mu.bias"].max_abs == steps["log_ent_coef"].max_abs == 30
    assert {m.file for m in difference.optimizer} == {
        "actor.optimizer.pth",
        "critic.optimizer.pth",
        "ent_coef_optimizer.pth",
    }
    counters = {s.key: (s.before, s.after) for s in difference.settings}
    assert counters["num_timesteps"] == (30, 60)
    assert counters["_n_updates"] == (before._n_updates, after._n_updates)


def test_what_came_went_and_took_another_shape(tmp_path: Path) -> None:
    a = write_sb3(tmp_path / "a.zip", {"old": th.ones(2), "same": th.ones(3), "q": th.ones(2, 3)})
    b = write_sb3(tmp_path / "b.zip", {"same": th.ones(3), "q": th.ones(3, 2), "new": th.ones(1)})
    found = {t.name: (t.status, t.shape_before, t.shape_after) for t in diff(a, b).tensors}
    assert found == {
        "old": ("removed", (2,), None),
        "same": ("identical", (3,), (3,)),
        "q": ("reshaped", (2, 3), (3, 2)),
        "new": ("added", None, (1,)),
    }


def test_another_type_of_the_same_values_is_a_change(tmp_path: Path) -> None:
    a = write_sb3(tmp_path / "a.zip", {"x": th.ones(2)})
    b = write_sb3(tmp_path / "b.zip", {"x": th.ones(2).half()})
    (tensor,) = diff(a, b).tensors
    assert (tensor.status, tensor.changed, tensor.max_abs) == ("changed", 0, 0.0)


def test_aliases_are_compared_once(tmp_path: Path) -> None:
    paths = []
    for number in (1.0, 2.0):
        shared = th.full((3,), number)
        policy = {"features_extractor.bias": shared, "pi_features_extractor.bias": shared}
        paths.append(write_sb3(tmp_path / f"{number}.zip", policy))
    assert [tensor.name for tensor in diff(*paths).tensors] == ["features_extractor.bias"]


def test_steps_of_older_optimizers_are_plain_numbers(tmp_path: Path) -> None:
    paths = []
    for step, kept in ((5, 5), (7, th.tensor(7.0))):
        state = {
            "state": {0: {"step": kept, "exp_avg": th.ones(4)}},
            "param_groups": [{"lr": 0.1, "params": [0]}],
        }
        path = tmp_path / f"{step}.zip"
        write_sb3(path, {"q_net.0.bias": th.ones(4)}, {}, {"policy.optimizer": state})
        paths.append(path)
    moments = {m.moment: m for m in diff(*paths).optimizer}
    assert moments["exp_avg"].status == "identical"
    assert (moments["step"].name, moments["step"].max_abs) == ("q_net.0.bias", 2)


def test_bare_state_dicts_beside_whole_checkpoints(tmp_path: Path) -> None:
    values = {"q_net.0.bias": th.tensor([1.0, 2.0])}
    whole = write_sb3(tmp_path / "a.zip", values)
    bare = tmp_path / "b.pth"
    bare.write_bytes(saved(values))
    assert diff(whole, bare).is_empty


def test_numbers_that_json_does_not_know_are_told_apart(tmp_path: Path) -> None:
    a = write_sb3(tmp_path / "a.zip", {"x": th.ones(1)}, {"gamma": float("nan"), "tau": 1.0})
    b = write_sb3(tmp_path / "b.zip", {"x": th.ones(1)}, {"gamma": float("nan"), "tau": np.inf})
    assert [(s.key, s.after) for s in diff(a, b).settings] == [("tau", "inf")]


def test_the_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    torn = tmp_path / "torn.zip"
    torn.write_bytes(BROKEN.read_bytes()[:-100])
    for pair in ((BROKEN, torn), (torn, BROKEN)):
        with pytest.raises(CheckpointError, match=r"torn\.zip: "):
            diff(*pair)


def test_numbers_at_the_ends_of_the_range_have_no_finite_gap(tmp_path: Path) -> None:
    paths = []
    for step in (-1.7e308, 1.7e308):
        state = {"state": {0: {"step": step}}, "param_groups": [{"params": [0]}]}
        path = tmp_path / f"{step}.zip"
        paths.append(write_sb3(path, {}, {}, {"policy.optimizer": state}))
    (moment,) = diff(*paths).optimizer
    assert (moment.status, moment.changed, moment.max_abs) == ("changed", 1, None)
