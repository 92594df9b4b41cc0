"""Names that a pickle asks for, exchanged; Python's own unpickler reads what comes out."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.pickles import global_names, with_global_names

PROTOCOLS = range(2, 6)
SPACE = gym.spaces.Dict(
    image=gym.spaces.Box(0, 255, (3, 4, 4), np.uint8),
    speed=gym.spaces.Box(-1.0, 1.0, (3,)),
    gear=gym.spaces.Discrete(5),
)


class Seen(pickle.Unpickler):
    """Notes what it looks up, and finds it where `homes` says that the module is."""

    def __init__(self, data: bytes, homes: dict[str, str]) -> None:
        super().__init__(io.BytesIO(data))
        self.homes = homes
        self.names: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.names.add((module, name))
        return super().find_class(self.homes.get(module, module), name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value", [SPACE, np.arange(3.0), collections.OrderedDict(a=np.float32(1)), {"a": [1]}]
)
def test_they_are_those_that_the_unpickler_looks_up(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    reader = Seen(data, {})
    reader.load()
    # Below protocol 4, Python itself gives names of Python 2 those of Python 3.
    asked = {("builtins" if m == "__builtin__" else m, n) for m, n in global_names(data)}
    assert asked == reader.names


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_names_and_all_else_as_it_was(protocol: int) -> None:
    SPACE.seed(1)
    data = cloudpickle.dumps(SPACE, protocol)
    box = ("gymnasium.spaces.box", "Box")
    changed = with_global_names(data, {box: ("a.much.longer.name.of.a.module", "Box")})
    reader = Seen(changed, {"a.much.longer.name.of.a.module": box[0]})
    assert reader.load() == SPACE
    assert ("a.much.longer.name.of.a.module", "Box") in reader.names
    assert box not in reader.names
    assert with_global_names(changed, {("a.much.longer.name.of.a.module", "Box"): box}) == data


def test_frames_announce_their_new_length() -> None:
    data = pickle.dumps([SPACE, b"x" * 100_000, SPACE.spaces], 4)
    changed = with_global_names(data, {("gymnasium.spaces.box", "Box"): ("x" * 300, "Box")})
    before, after = (
        [opcode.name for opcode, _, _ in pickletools.genops(d)] for d in (data, changed)
    )
    # A longer text takes the opcode that has room for its length.
    assert [n for n in after if "UNICODE" not in n] == [n for n in before if "UNICODE" not in n]
    reader = Seen(changed, {"x" * 300: "gymnasium.spaces.box"})
    assert reader.load()[0] == SPACE
    pickletools.dis(changed, io.StringIO())  # which checks the memo and the stack


def test_a_text_that_is_no_name_stays() -> None:
    values = ["gymnasium.spaces.box", gym.spaces.Box(-1, 1, (1,)), "Box"]
    data = pickle.dumps(values, 4)
    changed = with_global_names(data, {("gymnasium.spaces.box", "Box"): ("m", "Box")})
    assert Seen(changed, {"m": "gymnasium.spaces.box"}).load() == values


def test_a_text_that_is_a_name_and_more_is_refused() -> None:
    asked = b"\x80\x04\x8c\x05numpy\x94\x8c\x05dtype\x93h\x00\x86."
    assert pickle.loads(asked) == (np.dtype, "numpy")
    with pytest.raises(UnsupportedCheckpoint, match="more than a name"):
        with_global_names(asked, {("numpy", "dtype"): ("other", "dtype")})
    assert with_global_names(asked, {("torch", "dtype"): ("other", "dtype")}) == asked


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04", b"\x80\x04\x8c\xffa.", b"\x80\x04]\x93.", b"\xff", b"I1__\n."]
)
def test_what_is_no_pickle_is_refused(data: bytes) -> None:
    with pytest.raises((CorruptCheckpoint, UnsupportedCheckpoint)):
        global_names(data)
