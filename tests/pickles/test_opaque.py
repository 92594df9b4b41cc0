"""Objects of unknown classes: nothing of them runs, and what they hold is found."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import pickle
from pathlib import PurePosixPath
from typing import Any

import cloudpickle
import numpy as np
import pytest

from sacdoctor.errors import CorruptCheckpoint
from sacdoctor.pickles import (
    NUMPY_ARRAYS,
    Made,
    Name,
    OpaqueNames,
    PickledArray,
    attributes,
    class_of,
    contents,
    read_pickle,
    walk,
)


class Mode(enum.Enum):
    LONG = "long"


@dataclasses.dataclass
class Settings:
    tau: float = 0.005
    mode: Mode = Mode.LONG


class _Base:
    __slots__ = ("tau",)


class Old(_Base):
    """A class with both, whose state is a pair."""

    def __init__(self) -> None:
        self.tau, self.more = 0.005, 1


class Options(dict[str, Any]):
    pass


class Buffer:
    def __init__(self) -> None:
        self.settings = Settings()
        self.rewards = np.arange(4, dtype=np.float32)
        self.steps = [(np.ones(3), 0.5), (np.zeros(3), 0.25)]


class Trap:
    """Loading it would run `__setstate__`."""

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("it ran")

    def __getstate__(self) -> dict[str, Any]:
        return {"inside": 1}


def read(value: Any, protocol: int = 4) -> Any:
    return read_pickle(pickle.dumps(value, protocol), OpaqueNames(NUMPY_ARRAYS))


@pytest.mark.parametrize("protocol", range(6))
def test_the_fields_of_a_dataclass_are_found(protocol: int) -> None:
    made = read({"config": Settings(0.01), "steps": 8000}, protocol)
    assert made["steps"] == 8000
    assert class_of(made["config"]) == f"{__name__}.Settings"
    assert attributes(made["config"])["tau"] == 0.01
    assert class_of(attributes(made["config"])["mode"]) in (f"{__name__}.Mode", "builtins.getattr")


def test_values_of_slots_are_attributes() -> None:
    made = read_pickle(pickle.dumps(Old(), 2), OpaqueNames({}))
    assert attributes(made) == {"tau": 0.005, "more": 1}


def test_a_dict_of_an_own_class_holds_its_items_and_its_attributes() -> None:
    options = Options(tau=0.1)
    options.path = "here"  # type: ignore[attr-defined]
    assert dict(contents(read(options))) == {"path": "here", "tau": 0.1}


def test_a_namespace_and_a_path_are_data() -> None:
    made = read([argparse.Namespace(tau=1), PurePosixPath("/a/b"), collections.Counter("aa")])
    assert [class_of(one) for one in made] == [
        "argparse.Namespace",
        f"{PurePosixPath.__module__}.PurePosixPath",  # `pathlib._local` in Python 3.13
        "collections.Counter",
    ]
    assert attributes(made[0]) == {"tau": 1}


def test_arrays_beside_and_inside_an_own_buffer_are_found() -> None:
    found = {
        path: value.view().tolist()
        for path, value in walk(read(Buffer()))
        if isinstance(value, PickledArray)
    }
    assert found == {
        ("rewards",): [0.0, 1.0, 2.0, 3.0],
        ("steps", 0, 0): [1.0, 1.0, 1.0],
        ("steps", 1, 0): [0.0, 0.0, 0.0],
    }


def test_a_class_that_was_pickled_whole_has_its_name() -> None:
    class Local:
        def __init__(self) -> None:
            self.tau = 0.5

    made = read_pickle(cloudpickle.dumps(Local()), OpaqueNames({}))
    assert (class_of(made) or "").endswith("Local")
    assert attributes(made) == {"tau": 0.5}


def test_nothing_of_it_runs() -> None:
    with pytest.raises(AssertionError, match="it ran"):
        pickle.loads(pickle.dumps(Trap()))
    made = read(Trap())
    assert isinstance(made, Made)
    assert attributes(made) == {"inside": 1}
    assert read_pickle(b"cos\nsystem\n(S'exit 1'\ntR.", OpaqueNames({})).function == Name(
        "os", "system"
    )


def test_text_of_numpy_is_an_object_like_any_other() -> None:
    made = read({"name": np.str_("SPY"), "tau": np.float32(0.5)})
    assert isinstance(made["name"], Made)
    assert made["tau"] == 0.5


def test_a_listed_function_keeps_its_meaning_and_its_checks() -> None:
    names = OpaqueNames({("torch", "Size"): tuple})
    assert read_pickle(b"ctorch\nSize\n((K\x01K\x02ttR.", names) == (1, 2)
    with pytest.raises(CorruptCheckpoint, match="wrong arguments"):
        read_pickle(b"ctorch\nSize\n(K\x01tR.", names)
    opaque = read_pickle(b"ctorch\nSize\n(cown\nThing\n(tRtR.", names)
    assert isinstance(opaque, Made)


def test_a_container_in_two_places_comes_once_and_one_in_itself_ends() -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    values = list(walk({"a": shared, "b": {"c": shared}}))
    assert [path for path, value in values if value == 1] == [("a", 0)]


def test_a_thousand_levels_are_not_gone_down() -> None:
    deep: list[Any] = []
    for _ in range(1000):
        deep = [deep]
    assert max(len(path) for path, _ in walk(deep)) == 32


def test_what_is_not_entered_is_not_looked_into() -> None:
    saved = {"optimizer": {"state": {0: 1}}, "other": {"x": 2}}
    paths = [path for path, _ in walk(saved, lambda thing: "state" not in thing)]
    assert paths == [(), ("optimizer",), ("other",), ("other", "x")]
