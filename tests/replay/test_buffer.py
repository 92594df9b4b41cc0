"""Replay buffers read as SB3 holds them, and nothing in them executed."""

from __future__ import annotations

import os
import pickle
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.buffers import ReplayBuffer

from sacdoctor.errors import (
    CorruptCheckpoint,
    NotACheckpoint,
    SacdoctorError,
    UnsupportedCheckpoint,
)
from sacdoctor.replay.formats import read_replay_buffer
from tests.replay_buffers import KINDS, arrays_of, in_time, of_kind, tracking

pytestmark = pytest.mark.slow

each_kind = pytest.mark.parametrize("kind", KINDS)


def put(tmp_path: Path, buffer: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Path:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(buffer, protocol))
    return path


def with_attribute(name: str, value: Any) -> ReplayBuffer:
    buffer = copy(of_kind("plain").buffer)
    setattr(buffer, name, value)
    return buffer


# -- what SB3 writes ---------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_array_is_read_as_sb3_holds_it(tmp_path: Path, kind: str, protocol: int) -> None:
    live = of_kind(kind).buffer
    read = read_replay_buffer(put(tmp_path, live, protocol))
    expected = arrays_of(live)
    assert read.arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert read.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(read.arrays[name], array)
    assert (read.class_name, read.pos, read.full) == (type(live).__name__, live.pos, live.full)
    assert (read.capacity, read.n_envs) == (live.buffer_size, live.n_envs)
    assert read.transitions == live.size() * live.n_envs
    assert read.optimize_memory_usage == live.optimize_memory_usage


@each_kind
def test_rows_come_in_order_of_time(tmp_path: Path, kind: str) -> None:
    live = of_kind(kind).buffer
    read = read_replay_buffer(put(tmp_path, live))
    order = in_time(live)
    rewards = np.concatenate([*read.rows("rewards", 3, read.size)])
    np.testing.assert_array_equal(rewards, live.rewards[order[3:]])
    times = np.array([0, 5, read.size - 1])
    np.testing.assert_array_equal(read.take("actions", times), live.actions[order[times]])


def test_what_save_replay_buffer_writes_is_read(tmp_path: Path) -> None:
    run = tracking(executed=True)
    read = read_replay_buffer(run.save(tmp_path))
    assert read.class_name == "ExecutedActionReplayBuffer"
    np.testing.assert_array_equal(read.arrays["actions"], run.buffer.actions)


def test_numpy_1_pickles_are_read(tmp_path: Path) -> None:
    """numpy 1 pickles the same under the names of `numpy.core`."""
    live = of_kind("plain").buffer
    data = pickle.dumps(live, 3).replace(b"cnumpy._core.", b"cnumpy.core.")
    assert b"numpy.core.multiarray" in data
    path = tmp_path / "buffer.pkl"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_replay_buffer(path).arrays["actions"], live.actions)


@pytest.mark.parametrize("change", [lambda a: a.astype(">f4"), np.asfortranarray])
def test_other_layouts_of_an_array_read_the_same(tmp_path: Path, change: Any) -> None:
    live = of_kind("several").buffer
    other = copy(live)
    other.observations = change(live.observations)
    read = read_replay_buffer(put(tmp_path, other))
    np.testing.assert_array_equal(read.arrays["observations"], live.observations)


def test_attributes_that_hold_themselves_are_read(tmp_path: Path) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    assert read_replay_buffer(put(tmp_path, with_attribute("extra", cycle))).transitions == 120


# -- what it refuses ---------------------------------------------------------------------------


class Mine(ReplayBuffer):
    """A user's own buffer."""


class Trap:
    """Unpickled by Python, it would call what it was given."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, np.load, Path.unlink])
def test_what_loading_would_run_is_data(tmp_path: Path, function: Any, protocol: int) -> None:
    """Nothing of it runs; `warmup` and `scan` name it (tests/cli/test_warmup.py)."""
    trap = Trap(function, "raise AssertionError", "x")
    read = read_replay_buffer(put(tmp_path, with_attribute("extra", trap), protocol))
    assert read.transitions == 120


def test_a_class_made_from_sb3s_is_read_as_sb3s(tmp_path: Path) -> None:
    live = of_kind("plain").buffer
    mine = Mine(200, live.observation_space, live.action_space)
    vars(mine).update(vars(live), priorities=np.ones(200), scale=np.array(["a", "b"]))
    read = read_replay_buffer(put(tmp_path, mine))
    assert (read.class_name, read.transitions) == ("Mine", 120)
    np.testing.assert_array_equal(read.arrays["actions"], live.actions)


@pytest.mark.parametrize(
    "shape", [(200, 1, 1), (10**12, 1, 1), (10**30, 1), (-120, 1, 1), (1.5,), "120", (True,) * 3]
)
def test_a_shape_that_the_bytes_do_not_fill_is_corrupt(tmp_path: Path, shape: Any) -> None:
    function, arguments = np.zeros(120, np.float32).__reduce_ex__(5)[:2]
    data, dtype = arguments[:2]
    lie = Trap(function, bytes(data), dtype, shape, "C")
    with pytest.raises(CorruptCheckpoint):
        read_replay_buffer(put(tmp_path, with_attribute("actions", lie)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("buffer_size", 10**18),
        ("buffer_size", 0),
        ("n_envs", 2),
        ("n_envs", "1"),
        ("pos", 200),
        ("pos", -1),
        ("full", 1),
        ("rewards", [0.0]),
        ("actions", np.zeros((3, 1, 1), np.float32)),
        ("observations", {}),
        ("next_observations", {"image": np.zeros((200, 1, 2), np.float32)}),
        ("observations", {7: np.zeros((200, 1, 2), np.float32)}),
    ],
)
def test_claims_that_do_not_fit_are_corrupt(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(CorruptCheckpoint):
        read_replay_buffer(put(tmp_path, with_attribute(name, value)))


def test_an_attribute_whose_name_is_no_text_is_corrupt(tmp_path: Path) -> None:
    buffer = copy(of_kind("plain").buffer)
    buffer.__dict__[7] = np.zeros((200, 1), np.float32)
    with pytest.raises(CorruptCheckpoint, match="a name that is no text"):
        read_replay_buffer(put(tmp_path, buffer))


@pytest.mark.parametrize("dtype", ["O", "U3", "M8[s]", [("a", "f4")]])
def test_elements_that_are_no_numbers_are_not_read(tmp_path: Path, dtype: Any) -> None:
    odd = np.zeros((200, 1, 2), dtype)
    with pytest.raises(SacdoctorError):
        read_replay_buffer(put(tmp_path, with_attribute("actions", odd)))


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_corrupt(tmp_path: Path, share: float) -> None:
    data = pickle.dumps(of_kind("plain").buffer, 5)
    path = tmp_path / "buffer.pkl"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CorruptCheckpoint):
        read_replay_buffer(path)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotACheckpoint),
        (b"observations: none\n", NotACheckpoint),
        (b"PK\3\4", NotACheckpoint),
        (pickle.dumps({"observations": 1}), UnsupportedCheckpoint),
        (pickle.dumps([1, 2]), UnsupportedCheckpoint),
        (b"\x80\x04" + b"(" * 1000 + b".", CorruptCheckpoint),
        (b"\x80\x05\x8e" + b"\xff" * 8 + b".", CorruptCheckpoint),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, data: bytes, error: Any) -> None:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(data)
    with pytest.raises(error):
        read_replay_buffer(path)


def test_an_old_hers_layout_is_unsupported(tmp_path: Path) -> None:
    """HerReplayBuffer before SB3 2.0 kept episodes in one dict."""
    buffer = copy(of_kind("her").buffer)
    vars(buffer)["_buffer"] = vars(buffer).pop("observations")
    with pytest.raises(UnsupportedCheckpoint, match="layout"):
        read_replay_buffer(put(tmp_path, buffer))
