"""Moments of repaired elements are cleared: by identity, in the optimizers of the live model."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from fixtures import faulty_policies
from fixtures.faulty_training import SETUPS, optimizers
from sacdoctor.repair import RepairOptions, fix
from tests.archives import members_of, saved, zip_of
from tests.conftest import Run
from tests.repair import truth
from tests.repair.conftest import ODD, Patients

TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in SETUPS if name != "ARS"},  # ARS has no optimizer
    "PPO-AdamW": ("PPO", {"policy_kwargs": {"optimizer_class": th.optim.AdamW}}),
    "SAC-amsgrad": (
        "SAC",
        {
            "policy_kwargs": {
                "optimizer_class": th.optim.AdamW,
                "optimizer_kwargs": {"amsgrad": True},
            }
        },
    ),
    "PPO-RMSprop": (
        "PPO",
        {
            "policy_kwargs": {
                "optimizer_class": th.optim.RMSprop,
                "optimizer_kwargs": {"momentum": 0.9, "centered": True},
            }
        },
    ),
    "SAC-SGD": (
        "SAC",
        {
            "policy_kwargs": {
                "optimizer_class": th.optim.SGD,
                "optimizer_kwargs": {"momentum": 0.9},
            }
        },
    ),
    "SAC-shared-extractor": (
        "SAC",
        {"extractor": {}, "policy_kwargs": {"share_features_extractor": True}},
    ),
    "TD3-shared-extractor": (
        "TD3",
        {"extractor": {}, "policy_kwargs": {"share_features_extractor": True}},
    ),
    "PPO-grouped": ("PPO", {"policy": faulty_policies.GroupedActorCriticPolicy}),
    "SAC-grouped": ("SAC", {"policy": faulty_policies.GroupedSACPolicy}),
}
KEEPS: dict[str, set[str]] = {
    "PPO-AdamW": {"exp_avg", "exp_avg_sq", "step"},
    "SAC-amsgrad": {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"},
    "PPO-RMSprop": {"square_avg", "grad_avg", "momentum_buffer", "step"},
    "SAC-SGD": {"momentum_buffer"},
    "A2C": {"square_avg"},
}
"""What these optimizers keep per parameter (docs of torch.optim); A2C: torch's RMSprop."""

each_training = pytest.mark.parametrize("key", TRAININGS)


def hurt(patients: Patients, key: str, *patterns: str, index: object = ...) -> Path:
    algorithm, training = TRAININGS[key]
    return patients.hurt(algorithm, *patterns, index=index, key=key, **training)


def live(patients: Patients, key: str, path: Path) -> BaseAlgorithm:
    algorithm, training = TRAININGS[key]
    return type(patients.model(algorithm, key, **training)).load(path, device="cpu")


def compare(before: BaseAlgorithm, after: BaseAlgorithm, *, kept: bool = False) -> dict[str, int]:
    """Check every entry of every optimizer of two loaded models; count what was found.

    Parameters are told by identity: `optimizer.state[parameter]` is that parameter's own.
    """
    counts = {"cleared": 0, "steps": 0, "entries": 0}
    old_optimizers = dict(optimizers(before))
    for name, optimizer in optimizers(after):
        old_optimizer = old_optimizers[name]
        for group, old_group in zip(
            optimizer.param_groups, old_optimizer.param_groups, strict=True
        ):
            assert {k: v for k, v in group.items() if k != "params"} == {
                k: v for k, v in old_group.items() if k != "params"
            }
            for new, old in zip(group["params"], old_group["params"], strict=True):
                repaired = ((old == 0) & (new != 0)).reshape(-1)
                if old_optimizer.state.get(old):
                    counts["entries"] += 1
                    _compare(old_optimizer.state[old], optimizer.state[new], repaired, kept, counts)
                else:
                    assert not optimizer.state.get(new)
    return counts


def _compare(
    old: dict[str, Any],
    new: dict[str, Any],
    repaired: th.Tensor,
    kept: bool,
    counts: dict[str, int],
) -> None:
    assert set(old) == set(new)
    cleared = repaired & (not kept)
    whole = bool(cleared.all())
    for key, moment in new.items():
        before = old[key]
        if not isinstance(moment, th.Tensor):
            assert moment == before
        elif key == "step":
            assert float(moment) == (0.0 if whole else float(before))
            counts["steps"] += whole
        else:
            flat = moment.reshape(-1)
            assert not flat[cleared].any()
            assert truth.same(flat[~cleared], before.reshape(-1)[~cleared])
            counts["cleared"] += int(cleared.sum())


@each_training
def test_moments_of_dead_tensors_are_cleared_and_no_others(
    patients: Patients, tmp_path: Path, key: str
) -> None:
    source, output = hurt(patients, key, "*bias*"), tmp_path / "out.zip"
    result = fix(source, output=output)
    counts = compare(live(patients, key, source), live(patients, key, output))
    assert counts["entries"]
    assert counts["cleared"]
    assert bool(counts["steps"]) == any(reset.step_reset for reset in result.plan.optimizer)


@each_training
def test_half_dead_tensors_lose_half_their_moments_and_keep_their_step(
    patients: Patients, tmp_path: Path, key: str
) -> None:
    source, output = hurt(patients, key, "*bias*", index=ODD), tmp_path / "out.zip"
    fix(source, output=output)
    assert compare(live(patients, key, source), live(patients, key, output))["cleared"]


@each_training
def test_keep_optimizer_leaves_every_optimizer_byte_for_byte(
    patients: Patients, tmp_path: Path, key: str
) -> None:
    source, output = hurt(patients, key, "*bias*"), tmp_path / "out.zip"
    result = fix(source, output=output, options=RepairOptions(keep_optimizer=True))
    assert result.plan.optimizer == ()
    truth.assert_surgical(source, output, {"policy.pth"})
    counts = compare(live(patients, key, source), live(patients, key, output), kept=True)
    assert counts["cleared"] == 0


@each_training
def test_only_policy_and_optimizers_are_touched(
    patients: Patients, tmp_path: Path, key: str
) -> None:
    source, output = hurt(patients, key, "*bias*"), tmp_path / "out.zip"
    result = fix(source, output=output)
    # A moment that was 0 all along is cleared without a byte changing.
    files = {"policy.pth", *(reset.file for reset in result.plan.optimizer)}
    with zipfile.ZipFile(source) as one, zipfile.ZipFile(output) as other:
        touched = {name for name in one.namelist() if one.read(name) != other.read(name)}
    assert "policy.pth" in touched
    assert touched <= files
    truth.assert_surgical(source, output, touched)


@pytest.mark.parametrize("key", KEEPS)
def test_the_trainings_keep_what_their_optimizers_are_here_for(
    patients: Patients, key: str
) -> None:
    model = live(patients, key, hurt(patients, key, "*bias*"))
    kept = {name for _, opt in optimizers(model) for state in opt.state.values() for name in state}
    assert kept >= KEEPS[key]


def test_every_optimizer_of_tqc_is_cleared(patients: Patients, tmp_path: Path) -> None:
    result = fix(hurt(patients, "TQC", "*bias*"), output=tmp_path / "out.zip")
    assert {reset.file for reset in result.plan.optimizer} == {
        "actor.optimizer.pth",
        "critic.optimizer.pth",
    }


def test_a_layer_outside_the_optimizer_has_nothing_to_clear(broken: Path, tmp_path: Path) -> None:
    assert fix(broken, output=tmp_path / "out.zip").plan.optimizer == ()


# -- step as it was before PyTorch 1.12 --------------------------------------------------------


@pytest.fixture
def old_format(patients: Patients, tmp_path: Path) -> Path:
    """SAC with dead biases, its optimizers' steps as Python integers."""
    members = members_of(patients.hurt("SAC", "*bias*").read_bytes())
    for name in ("actor.optimizer.pth", "critic.optimizer.pth"):
        state = truth.load(members[name])
        for kept in state["state"].values():
            kept["step"] = int(kept["step"])
        members[name] = saved(state)
    path = tmp_path / "old.zip"
    path.write_bytes(zip_of(members))
    return path


def test_integer_step_stays_and_moments_go(
    patients: Patients, old_format: Path, tmp_path: Path
) -> None:
    fix(old_format, output=tmp_path / "out.zip")
    policy = patients.model("SAC").policy
    position = [id(p) for p in policy.actor.parameters()].index(id(policy.actor.mu.bias))
    before = truth.member(old_format, "actor.optimizer.pth")["state"][position]
    after = truth.member(tmp_path / "out.zip", "actor.optimizer.pth")["state"][position]
    assert type(after["step"]) is int
    assert after["step"] == before["step"] > 0
    assert before["exp_avg"].any()
    assert not after["exp_avg"].any()
    assert not after["exp_avg_sq"].any()


def test_integer_step_is_noted_in_json_and_table(run: Run, old_format: Path) -> None:
    document = json.loads(run("fix", old_format, "--format", "json").out)
    entries = document["optimizer"]
    assert entries
    assert not any(entry["step_reset"] for entry in entries)
    assert all("step" in entry["note"] for entry in entries)
    assert "step is a plain number" in run("fix", old_format, "--force").out


def test_tensor_step_has_no_note(run: Run, patients: Patients, tmp_path: Path) -> None:
    source = patients.hurt("SAC", "*bias*")
    out = tmp_path / "out.zip"
    document = json.loads(run("fix", source, "--output", out, "--format", "json").out)
    assert all(entry["step_reset"] and not entry["note"] for entry in document["optimizer"])


# -- what cannot be said for certain -----------------------------------------------------------


def test_moments_that_could_be_anyones_stay_and_the_report_says_so(tmp_path: Path) -> None:
    """Two layers of one shape, one entry with moments and none without: nobody knows whose."""
    state = {
        f"{layer}.{part}": tensor
        for layer in ("a", "b")
        for part, tensor in (("weight", th.ones(4, 4)), ("bias", th.zeros(4)))
    }
    moments = {"step": th.tensor(3.0), "exp_avg": th.ones(4), "exp_avg_sq": th.ones(4)}
    optimizer = {
        "state": {0: moments},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}],
    }
    members = {
        "data": b"{}",
        "policy.pth": saved(state),
        "policy.optimizer.pth": saved(optimizer),
    }
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    result = fix(source, output=output)
    assert result.plan.optimizer == ()
    assert {left.name for left in result.plan.left} == {"a.bias", "b.bias"}
    assert all("moments" in left.reason for left in result.plan.left)
    with zipfile.ZipFile(io.BytesIO(output.read_bytes())) as archive:
        assert archive.read("policy.optimizer.pth") == members["policy.optimizer.pth"]
