"""A buffer without its oldest rows is the one that SB3 would have filled with the others."""

from __future__ import annotations

import pickle
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer

from sacdoctor.errors import CorruptCheckpoint, SacdoctorError, UnsupportedCheckpoint
from sacdoctor.replay.formats import read_replay_buffer
from sacdoctor.replay.rewriting import write_without_oldest
from tests.replay_buffers import KINDS, arrays_of, of_kind, refilled

pytestmark = pytest.mark.slow

EPISODES = ("ep_start", "ep_length")


def put(tmp_path: Path, buffer: Any, protocol: int = 5) -> Path:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(buffer, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("rows", [1, 8, 29])
@pytest.mark.parametrize("kind", KINDS)
def test_result_is_what_sb3_fills_with_the_other_rows(
    tmp_path: Path, kind: str, rows: int, protocol: int
) -> None:
    live = of_kind(kind).buffer
    out = tmp_path / "out.pkl"
    write_without_oldest(read_replay_buffer(put(tmp_path, live, protocol)), rows, out)
    written, expected = pickle.loads(out.read_bytes()), refilled(live, rows)
    assert (written.pos, written.full) == (expected.pos, False)
    truth = arrays_of(expected)
    # An episode that was overwritten in part is not sampled, whatever is left of it.
    whole = arrays_of(written).get("ep_length", np.zeros(0)) > 0
    for name, array in arrays_of(written).items():
        if name in EPISODES:
            np.testing.assert_array_equal(array[whole], truth[name][whole], name)
        else:
            np.testing.assert_array_equal(array, truth[name], name)
    if isinstance(live, HerReplayBuffer):
        np.testing.assert_array_equal(written._current_ep_start, expected._current_ep_start)
        lost = (truth["ep_length"] > 0) & ~whole
        assert lost.sum() < live.env.get_attr("max_steps")[0]
    others = vars(live).keys() - {"env", "observations", "next_observations", "infos"}
    for name in others:
        if not isinstance(vars(live)[name], np.ndarray) and name not in ("pos", "full"):
            assert str(vars(written)[name]) == str(vars(live)[name])


@pytest.mark.parametrize("kind", KINDS)
def test_sb3_loads_and_samples_what_was_written(tmp_path: Path, kind: str) -> None:
    model = of_kind(kind).model
    out, own = tmp_path / "out.pkl", model.replay_buffer
    write_without_oldest(read_replay_buffer(put(tmp_path, own)), 8, out)
    try:
        model.load_replay_buffer(out)
        assert model.replay_buffer.sample(16).rewards.shape == (16, 1)  # type: ignore[union-attr]
    finally:
        model.replay_buffer = own


def test_a_longer_position_is_written_where_a_shorter_one_stood(tmp_path: Path) -> None:
    """A full buffer's position may take one byte, the new one two."""
    live = copy(of_kind("plain").buffer)
    for name, array in arrays_of(live).items():
        setattr(live, name, np.resize(array, (400, *array.shape[1:])))
    live.buffer_size, live.pos, live.full = 400, 7, True
    out = tmp_path / "out.pkl"
    write_without_oldest(read_replay_buffer(put(tmp_path, live)), 10, out)
    written = pickle.loads(out.read_bytes())
    assert (written.pos, written.full) == (390, False)
    np.testing.assert_array_equal(written.actions[:390], np.roll(live.actions, -17, axis=0)[:390])


@pytest.mark.parametrize("rows", [0, 120, -1])
def test_some_rows_must_go_and_some_stay(tmp_path: Path, rows: int) -> None:
    buffer = read_replay_buffer(put(tmp_path, of_kind("plain").buffer))
    with pytest.raises(ValueError, match="rows must be"):
        write_without_oldest(buffer, rows, tmp_path / "out.pkl")


def test_an_existing_file_stays(tmp_path: Path) -> None:
    path = put(tmp_path, of_kind("plain").buffer)
    (tmp_path / "out.pkl").write_text("mine")
    with pytest.raises(SacdoctorError, match="exists already"):
        write_without_oldest(read_replay_buffer(path), 8, tmp_path / "out.pkl")
    assert (tmp_path / "out.pkl").read_text() == "mine"


@pytest.mark.parametrize("name", ["ep_start", "ep_length", "_current_ep_start"])
def test_a_her_buffer_without_its_episodes_is_corrupt(tmp_path: Path, name: str) -> None:
    buffer = copy(of_kind("her").buffer)
    delattr(buffer, name)
    with pytest.raises(CorruptCheckpoint, match=name):
        write_without_oldest(read_replay_buffer(put(tmp_path, buffer)), 8, tmp_path / "out.pkl")


class Mine(ReplayBuffer):
    """A user's own buffer, with another array beside SB3's."""


def infos_kept(buffer: Any) -> None:
    buffer.infos = np.array([[{"cost": 1.0}]] * buffer.buffer_size)


def fortran(buffer: Any) -> None:
    buffer.rewards = np.asfortranarray(np.zeros((buffer.buffer_size, buffer.n_envs)))
    buffer.actions = np.asfortranarray(np.repeat(buffer.actions, 2, axis=2))


def with_priorities(buffer: Any) -> None:
    buffer.__class__ = Mine
    buffer.priorities = np.ones(buffer.buffer_size)


@pytest.mark.parametrize(
    ("kind", "change", "protocol"),
    [
        ("her", infos_kept, 5),
        ("plain", fortran, 5),
        ("plain", lambda buffer: None, 2),
        ("plain", with_priorities, 5),
    ],
    ids=["infos", "fortran", "text", "own"],
)
def test_what_cannot_be_cleaned_is_said_and_nothing_written(
    tmp_path: Path, kind: str, change: Any, protocol: int
) -> None:
    buffer = copy(of_kind(kind).buffer)
    change(buffer)
    path = put(tmp_path, buffer, protocol)
    with pytest.raises(UnsupportedCheckpoint, match="cannot be cleaned"):
        write_without_oldest(read_replay_buffer(path), 8, tmp_path / "out.pkl")
    assert [file.name for file in tmp_path.iterdir()] == ["buffer.pkl"]
