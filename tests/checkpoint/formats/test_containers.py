"""The kinds of checkpoint files: each file is of one kind, told by its bytes alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec.structs
import pytest
import torch as th

from fixtures.make import CHECKPOINTS
from sacdoctor import Checkpoint, SacdoctorError, scan
from sacdoctor.checkpoint import formats
from sacdoctor.checkpoint.formats import (
    CONTAINERS,
    Container,
    container_of,
    sb3_zip,
    torch_legacy,
    torch_zip,
)
from sacdoctor.trust.parts import ENDINGS, is_pickle_file
from tests.archives import saved, sb3_members, zip_of
from tests.test_corpus import FILES

POLICY = {"actor.mu.weight": th.ones(2, 3), "actor.mu.bias": th.zeros(2)}

MADE: dict[str, tuple[Callable[[], bytes], Container]] = {
    "SB3's zip": (lambda: zip_of(sb3_members(POLICY)), sb3_zip.CONTAINER),
    "a zip of other things": (lambda: zip_of({"notes.txt": b"hello"}), sb3_zip.CONTAINER),
    "a zip cut off": (lambda: zip_of(sb3_members(POLICY))[:-30], sb3_zip.CONTAINER),
    "a state dict": (lambda: saved(POLICY), torch_zip.CONTAINER),
    "an old state dict": (lambda: saved(POLICY, legacy=True), torch_legacy.CONTAINER),
}


def claims(buffer: memoryview) -> list[Container]:
    """The kinds that open these bytes, the one that gives way only where it is alone."""
    found = [container for container in CONTAINERS if container.opens(buffer)]
    return [container for container in found if not container.gives_way] or found


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("file", ["model.zip", "policy.pth", "buffer.pkl", "model"])
def test_one_kind_opens_a_file_however_it_is_named(tmp_path: Path, name: str, file: str) -> None:
    make, expected = MADE[name]
    path = tmp_path / file
    path.write_bytes(make())
    assert claims(memoryview(make())) == [expected]
    assert container_of(memoryview(make())) is expected
    assert not is_pickle_file(path)


@pytest.mark.parametrize(
    "path", [*sorted(CHECKPOINTS.glob("*.zip")), *FILES], ids=lambda path: path.name
)
def test_checkpoints_of_sb3_are_of_one_kind(path: Path) -> None:
    assert claims(memoryview(path.read_bytes())) == [sb3_zip.CONTAINER]


def test_one_kind_at_most_gives_way() -> None:
    assert [container for container in CONTAINERS if container.gives_way] == [sb3_zip.CONTAINER]


@pytest.mark.parametrize("data", [b"P", b"hello", bytes(4096), b"\x80\x04N."])
def test_no_kind_opens_what_is_no_checkpoint(data: bytes) -> None:
    assert claims(memoryview(data)) == []
    with pytest.raises(SacdoctorError, match="neither a zip nor"):
        container_of(memoryview(data))


def test_two_kinds_that_claim_the_same_bytes_are_an_error_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin = msgspec.structs.replace(torch_zip.CONTAINER, name="a twin")
    monkeypatch.setattr(formats, "CONTAINERS", (*CONTAINERS, twin))
    with pytest.raises(RuntimeError, match="a bare state dict and a twin claim the same bytes"):
        container_of(memoryview(saved(POLICY)))


def test_every_module_with_a_container_is_found() -> None:
    folder = Path(formats.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "interface"}
    homes = {sys.modules[f"{formats.__name__}.{module}"] for module in modules}
    assert {id(home.CONTAINER) for home in homes} == {id(kind) for kind in CONTAINERS}


def test_gate_looks_at_files_named_as_those_with_pickles() -> None:
    assert ENDINGS == (".zip", ".pth", ".pt", ".pkl", ".pickle")


def test_a_bare_file_has_tensors_and_nothing_else(tmp_path: Path) -> None:
    for legacy in (False, True):
        path = tmp_path / "policy.pth"
        path.write_bytes(saved(POLICY, legacy=legacy))
        with Checkpoint(path) as checkpoint:
            assert (checkpoint.optimizers, checkpoint.variables) == ({}, {})
            assert dict(checkpoint.hyperparameters) == {}
            assert (checkpoint.sb3_version, checkpoint.record) == (None, None)
            assert not checkpoint.is_repaired
        assert {layer.cause for layer in scan(path).biases} == {"unknown"}
