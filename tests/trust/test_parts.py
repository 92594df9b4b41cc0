"""The pickles in a file: what is found in them does not hang on what was read of it before."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch as th

from fixtures.make import CHECKPOINTS
from sacdoctor import Checkpoint, CheckpointError, scan
from sacdoctor.checkpoint.legacy import is_legacy
from sacdoctor.checkpoint.torch_file import read_torch_archive
from sacdoctor.checkpoint.torch_names import TORCH_NAMES
from sacdoctor.trust.known_names import role_of
from sacdoctor.trust.parts import PickledPart, parts_of
from sacdoctor.trust.references import Kind, torch_references
from tests.archives import members_of, saved, sb3_members, tensor_pickle, torch_zip, zip_of
from tests.fuzz.targets import opened
from tests.payloads import Calls
from tests.test_corpus import FILES

POLICY = {"actor.mu.weight": th.ones(2, 3), "actor.mu.bias": th.zeros(2)}
ADAM = {"state": {}, "param_groups": [{"lr": 0.5, "params": [0]}]}

CALLED_LATER = b"\x80\x02ctorch.nn.parameter\nParameter\nccollections\nOrderedDict\n\x85R)R."
"""A function comes back from a call and is called: the strict reader follows, and makes a dict."""
REACHING = b"\x80\x02ccollections\nOrderedDict\n)R}X\x09\x00\x00\x00__class__Nsb."
"""A state with a key by which an object reaches what is not its own."""
RECALLED = b"\x80\x02ccollections\nOrderedDict\n)R}X\x09\x00\x00\x00_metadata}sb."
"""The state that PyTorch's own state dicts have."""


DEEP = b"N" + b"\x85" * 100
"""Tuples in one another: a hash of it takes as many of Python's own calls in one another."""
DEFAULTS = b"ccollections\ndefaultdict\nq\x000" + b"h\x00)RN" * 100 + b"N" + b"s" * 100


def with_another_pickle() -> bytes:
    """torch takes `data.pkl` alone, but what else is in there may be loaded by name."""
    payload = pickle.dumps(Calls(os.system, "true"))
    return zip_of({**members_of(saved(POLICY)), "archive/other.pkl": payload})


BARE: dict[str, Callable[[], bytes]] = {
    "a state dict": lambda: saved(POLICY),
    "a module's": lambda: saved(th.nn.Linear(2, 3).state_dict()),
    "before PyTorch 1.6": lambda: saved(POLICY, legacy=True),
    "written by hand": lambda: torch_zip(tensor_pickle(), {"0": bytes(16)}),
    "a state as PyTorch's own": lambda: torch_zip(RECALLED),
    "another pickle in it": with_another_pickle,
    "a call of what a call returned": lambda: torch_zip(CALLED_LATER),
    "a state that reaches out": lambda: torch_zip(REACHING),
    "a payload": lambda: saved({**POLICY, "x": Calls(os.system, "true")}),
    "a payload before PyTorch 1.6": lambda: saved({"x": Calls(os.system, "true")}, legacy=True),
    "a deep key": lambda: torch_zip(b"\x80\x04}" + DEEP + b"Ns."),
    "a deep item of a set": lambda: torch_zip(b"\x80\x04\x8f(" + DEEP + b"\x900}."),
    "the same by its type": lambda: torch_zip(b"\x80\x04cbuiltins\nset\n]" + DEEP + b"a\x85R0}."),
    "dicts by default in one another": lambda: torch_zip(b"\x80\x04" + DEFAULTS + b"0}."),
    "no storages": lambda: torch_zip(tensor_pickle()),
}
PLAIN = {"a state dict", "a module's", "a state as PyTorch's own"}


def inside(place: str, data: bytes) -> bytes:
    members = sb3_members(POLICY, {"learning_rate": 0.5}, {"actor.optimizer": ADAM})
    return zip_of({**members, place: data})


def read_all(checkpoint: Checkpoint) -> None:
    for name in ("tensors", "optimizers", "variables", "hyperparameters"):
        try:
            getattr(checkpoint, name)
        except CheckpointError:
            continue


def parts(checkpoint: Checkpoint) -> list[PickledPart]:
    return list(parts_of(checkpoint))


@pytest.mark.parametrize("place", ["", "policy.pth", "pytorch_variables.pth", "extra.pth"])
@pytest.mark.parametrize("content", BARE)
def test_parts_are_the_same_whatever_was_read_before(
    tmp_path: Path, content: str, place: str
) -> None:
    data = BARE[content]()
    path = tmp_path / "model.zip"
    path.write_bytes(inside(place, data) if place else data)
    with Checkpoint(path) as checkpoint:
        never = parts(checkpoint)
    with Checkpoint(path) as checkpoint:
        read_all(checkpoint)
        before = parts(checkpoint)
    with Checkpoint(path) as checkpoint:
        first = parts(checkpoint)
        read_all(checkpoint)
        after = parts(checkpoint)
    assert never == before == first == after
    expected = torch_references(memoryview(data))
    assert never == ([PickledPart(place, "", expected)] if expected else [])


@pytest.mark.parametrize("content", BARE)
def test_what_the_reader_calls_plain_has_no_references(content: str) -> None:
    data = BARE[content]()
    try:
        is_plain = read_torch_archive(opened(data)).is_plain
    except CheckpointError:
        is_plain = False
    assert is_plain == (content in PLAIN)
    assert not (is_plain and torch_references(memoryview(data)))


def test_what_hides_from_the_strict_reader_is_found_in_a_whole_scan(tmp_path: Path) -> None:
    kinds = {}
    for content in ("another pickle in it", "a call of what a call returned"):
        path = tmp_path / "model.pth"
        path.write_bytes(BARE[content]())
        with Checkpoint(path) as checkpoint:
            read_all(checkpoint)
            kinds[content] = {r.kind for part in parts_of(checkpoint) for r in part.references}
        assert "SD601" in {finding.rule for finding in scan(path).findings}
    assert Kind.CALL in kinds["another pickle in it"]
    assert Kind.COMPUTED in kinds["a call of what a call returned"]


@pytest.mark.parametrize(
    "path", [*sorted(CHECKPOINTS.glob("*.zip")), *FILES], ids=lambda path: path.name
)
def test_torch_files_of_real_checkpoints_are_plain_and_have_no_references(path: Path) -> None:
    """Those before PyTorch 1.6 are walked: it is torch that reads them, by a list of its own."""
    with Checkpoint(path) as checkpoint:
        read_all(checkpoint)
        files = [file for file in checkpoint.pickles() if file.is_torch]
        assert "policy.pth" in [file.member for file in files]
        assert all(file.is_plain != is_legacy(file.read()) for file in files)
        assert [torch_references(file.read()) for file in files] == [()] * len(files)


def test_every_listed_name_is_an_allowed_one() -> None:
    assert [name for name in TORCH_NAMES if role_of(*name) is None] == []


def test_no_pickle_of_a_sound_checkpoint_is_walked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(inside("pytorch_variables.pth", saved({"log_ent_coef": th.zeros(1)})))
    module = sys.modules["sacdoctor.trust.parts"]
    monkeypatch.setattr(module, "torch_references", pytest.fail)
    monkeypatch.setattr(module, "references", pytest.fail)
    assert scan(path).findings
