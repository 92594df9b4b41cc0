"""Every file that does harm when it is loaded fails the gate: what really runs is seen to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.payloads.assembly import (
    NONE,
    aside,
    attribute,
    call,
    data,
    kept,
    list_,
    name,
    number,
    numbers,
    text,
    whole,
)
from tests.payloads.called import CALLED, CRASHING
from tests.payloads.calls import CALLS
from tests.payloads.containers import CHECKPOINTS, TORCH_FILES
from tests.payloads.crashes import CRASHES
from tests.payloads.hiding import (
    HIDING,
    LOAD,
    PARTIAL,
    SB3_ENUM,
    U1,
    namespace,
    old_torch,
    torch_zip,
)
from tests.payloads.loading import Loaded, load_all
from tests.payloads.places import (
    OLD_PLACES,
    PYTHON_PLACES,
    TORCH_PLACES,
    Payload,
    payloads,
    sound_files,
)

pytestmark = pytest.mark.slow

OTHERS = (
    *("method in a state", "second in a row", "zip behind a pickle"),
    "pickle in a safetensors file",
)
KINDS = (*CALLS, *HIDING, *CALLED, *CRASHING, *CRASHES, *CHECKPOINTS, *TORCH_FILES, *OTHERS)

NEVER = {
    "alias by numpy.scalar": "numpy 2 refuses objects there; numpy 1 does not",
    "a storage by two ids": "a storage takes no attributes",
    "data twice, first": "Python reads the other one",
    "data by its extra field": "this Python does not know the field",
    "before a sound archive": "Python reads the other one",
    "two zip64 fields, last": "Python reads the other one",
    "key twice, last": "Python reads the other one",
    "pickle twice, last": "Python reads the other one",
    "record twice, last": "torch reads the other one",
    "another root, first": "torch refuses two folders",
    "another root, last": "torch refuses two folders",
    "behind a pickle": "torch refuses it",
}
"""Kinds that do nothing under these versions of Python, numpy and torch, and why."""


@dataclass(frozen=True)
class Seen:
    """A payload, and what became of it under each of its loaders."""

    payload: Payload
    loaded: dict[str, Loaded]

    @property
    def did_harm(self) -> bool:
        return any(one.did_harm for one in self.loaded.values())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Seen]]:
    """Every program in one place of each reader, in turn, loaded as a user would."""
    folder = tmp_path_factory.mktemp("payloads")
    written = list(payloads(folder, each_in=1))
    jobs = [job for payload in written for job in payload.jobs]
    by_path: dict[Path, dict[str, Loaded]] = {}
    for job, loaded in load_all(jobs, folder, sound_files(folder)):
        by_path.setdefault(job.path, {})[job.loader] = loaded
    found: dict[str, list[Seen]] = {kind: [] for kind in KINDS}
    for payload in written:
        found[payload.kind].append(Seen(payload, by_path[payload.path]))
    return found


HARMLESS: dict[str, bytes] = {
    "nothing": NONE,
    "an array": call(
        name("numpy._core.numeric", "_frombuffer"), data(bytes(8)), U1, numbers(8), text("C")
    ),
    "a torch file": call(LOAD, data(torch_zip(whole(NONE)))),
    "an old torch file": call(LOAD, data(old_torch(NONE))),
    "a namespace": namespace(x=list_(number(1))),
    "something that is kept": aside(list_(number(1)), 900) + kept(900),
    "a partial call": call(PARTIAL, name("builtins", "float")),
    "a member": attribute(SB3_ENUM, "STEP"),
}


@pytest.mark.parametrize("place", [*PYTHON_PLACES, *TORCH_PLACES, *OLD_PLACES])
def test_a_place_itself_is_harmless(run: Run, tmp_path: Path, place: str) -> None:
    """Else it proves nothing that a payload in it is named."""
    ending, _, make = {**PYTHON_PLACES, **TORCH_PLACES, **OLD_PLACES}[place]
    path = tmp_path / f"file{ending}"
    told = {}
    for what, program in HARMLESS.items():
        path.write_bytes(make(program))
        told[what] = run("scan", "--select", "SD6", path).code
    assert told == dict.fromkeys(HARMLESS, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_harm_fails_the_gate(run: Run, seen: dict[str, list[Seen]], kind: str) -> None:
    passed = [
        f"{one.payload.place}: {one.loaded}"
        for one in seen[kind]
        if one.did_harm and run("scan", "--select", "SD6", one.payload.path).code not in (1, 2)
    ]
    assert passed == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_really_runs(seen: dict[str, list[Seen]], kind: str) -> None:
    """Else it proves nothing that the gate names it."""
    assert any(one.did_harm for one in seen[kind]) == (kind not in NEVER)


def test_looking_runs_nothing(run: Run, seen: dict[str, list[Seen]]) -> None:
    for one in _some_of_each(seen):
        run("scan", "--select", "SD6", one.payload.path)
        assert not one.payload.mark.is_there


def _some_of_each(seen: dict[str, list[Seen]]) -> Iterator[Seen]:
    return (each[0] for each in seen.values() if each)
