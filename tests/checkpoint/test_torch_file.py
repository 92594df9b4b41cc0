"""Torch files: where torch finds its records, and what no file of `torch.save` has beside them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch as th

from sacdoctor import Checkpoint, SacdoctorError, scan
from sacdoctor.checkpoint.formats import sb3_zip, torch_zip
from sacdoctor.errors import CorruptCheckpoint
from tests.archives import members_of, saved, sb3_members, write_sb3, zip_of

POLICY = {"actor.mu.weight": th.ones(2, 3), "actor.mu.bias": th.zeros(2)}
OTHER = {"actor.mu.weight": th.ones(2, 3), "actor.mu.bias": th.ones(2)}


def record(state: object) -> bytes:
    return members_of(saved(state))["archive/data.pkl"]


@pytest.mark.parametrize("name", ["archive/DATA.PKL", "archive/Data.pkl"])
def test_names_that_torch_does_not_tell_apart_are_refused(tmp_path: Path, name: str) -> None:
    """Which of them torch reads hangs on the other names."""
    inner = {name: record({"note": "another"}), **members_of(saved(POLICY))}
    path = write_sb3(tmp_path / "model.zip", zip_of(inner))
    with pytest.raises(CorruptCheckpoint, match=r"policy\.pth: .*case of letters"):
        scan(path)
    path.write_bytes(zip_of(inner))
    with pytest.raises(SacdoctorError):
        scan(path)


def test_records_are_found_in_any_case_of_letters(tmp_path: Path) -> None:
    inner = members_of(saved(POLICY))
    inner = {name.replace("data.pkl", "Data.PKL"): data for name, data in inner.items()}
    assert th.load(io.BytesIO(zip_of(inner))).keys() == POLICY.keys()
    path = tmp_path / "policy.pth"
    path.write_bytes(zip_of(inner))
    with Checkpoint(path) as checkpoint:
        assert checkpoint.container is torch_zip.CONTAINER
        assert checkpoint.tensors.keys() == POLICY.keys()


@pytest.mark.parametrize("beside", ["data", "policy.pth", "archive/policy.pth", "b/data.pkl", "x"])
def test_a_state_dict_with_anything_beside_it_is_none(tmp_path: Path, beside: str) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zip_of({**members_of(saved(POLICY)), beside: b"{}"}))
    with Checkpoint(path) as checkpoint:
        assert checkpoint.container is sb3_zip.CONTAINER


def test_a_checkpoint_with_a_state_dict_beside_it_is_a_checkpoint(tmp_path: Path) -> None:
    """What SB3 would load counts, not what torch would."""
    path = tmp_path / "model.zip"
    members = sb3_members(OTHER, {"num_timesteps": 7})
    for extra in ({"a/data.pkl": record({})}, members_of(saved(POLICY))):
        for order in ({**members, **extra}, {**extra, **members}):
            path.write_bytes(zip_of(order))
            report = scan(path)
            assert report.num_timesteps == 7
            assert {layer.name: layer.zeros for layer in report.layers}["actor.mu.bias"] == 0


def test_an_old_state_dict_before_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(saved(POLICY, legacy=True) + zip_of(sb3_members(OTHER)))
    with pytest.raises(SacdoctorError, match="two formats in one file"):
        scan(path)
