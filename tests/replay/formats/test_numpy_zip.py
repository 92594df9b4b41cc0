"""Buffers that numpy saved: read as numpy loads them, cut, and loaded by numpy again."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacdoctor.diagnosis.warmup import audit_warmup, write_clean
from sacdoctor.errors import (
    CorruptCheckpoint,
    NotACheckpoint,
    SacdoctorError,
    UnsupportedCheckpoint,
)
from sacdoctor.replay import read_replay_buffer, write_without_oldest
from tests.own_buffers import FORCED, STEPS, Arrays, Ring, filled, transitions

each_way = pytest.mark.parametrize("save", [np.savez, np.savez_compressed])

SPELLINGS = {
    "SB3": ("observations", "actions", "rewards", "next_observations", "dones"),
    "d4rl": ("observations", "actions", "rewards", "next_observations", "terminals"),
    "Minari": ("observations", "actions", "rewards", "next_observations", "terminations"),
    "Spinning Up": ("obs_buf", "act_buf", "rew_buf", "obs2_buf", "done_buf"),
    "TD3": ("state", "action", "reward", "next_state", "done"),
    "textbook": ("s", "a", "r", "s_", "d"),
    "camel": ("stateMemory", "actionMemory", "rewardMemory", "newStateMemory", "terminalMemory"),
}


def put(tmp_path: Path, arrays: Any, save: Any = np.savez) -> Path:
    path = tmp_path / "buffer.npz"
    save(path, **arrays)
    return path


def loaded(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def short() -> Arrays:
    return transitions(120, 30)


# -- reading -----------------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("names", SPELLINGS.values(), ids=SPELLINGS)
def test_fields_are_known_by_their_usual_names(
    tmp_path: Path, names: tuple[str, ...], save: Any
) -> None:
    arrays = dict(zip(names, short().values(), strict=True))
    read = read_replay_buffer(put(tmp_path, arrays, save))
    assert (read.transitions, read.n_envs, read.optimize_memory_usage) == (120, 1, False)
    for field, name in zip(SPELLINGS["SB3"], names, strict=True):
        rows = np.concatenate([*read.rows(field, 0, 120)])
        np.testing.assert_array_equal(rows.reshape(arrays[name].shape), arrays[name])


@pytest.mark.parametrize("change", [np.asfortranarray, lambda array: array.astype(">f8")])
def test_other_layouts_of_an_array_read_the_same(tmp_path: Path, change: Any) -> None:
    arrays = short()
    read = read_replay_buffer(put(tmp_path, {**arrays, "states": change(arrays["states"])}))
    np.testing.assert_array_equal(read.arrays["observations"][:, 0], arrays["states"])


def test_the_next_observation_may_be_the_next_row(tmp_path: Path) -> None:
    """d4rl keeps none; of the newest transition it is not known."""
    arrays = short()
    timeouts = arrays.pop("dones")
    del arrays["next_states"]
    read = read_replay_buffer(put(tmp_path, {**arrays, "timeouts": timeouts}))
    assert (read.optimize_memory_usage, read.whole) == (True, range(119))


def test_parts_of_observations_are_read(tmp_path: Path) -> None:
    arrays = short()
    states, following = arrays.pop("states"), arrays.pop("next_states")
    parts = {"observations/place": states[:, 2:], "observations/rest": states[:, :2]}
    parts |= {"next_observations/place": following[:, 2:], "next_observations/rest": states[:, :2]}
    read = read_replay_buffer(put(tmp_path, {**arrays, **parts}))
    assert read.observation_names == ("observations.place", "observations.rest")


def ring(room: int) -> Arrays:
    """What a ring of so much room saves, counters and all."""
    return {name: np.asarray(value) for name, value in vars(filled(Ring, short(), room)).items()}


@each_way
def test_a_tail_that_was_never_filled_is_left_out(tmp_path: Path, save: Any) -> None:
    read = read_replay_buffer(put(tmp_path, ring(500), save))
    assert (read.capacity, read.transitions, read.full) == (500, 120, False)


def test_a_ring_that_has_wrapped_is_read_in_order_of_time(tmp_path: Path) -> None:
    read = read_replay_buffer(put(tmp_path, ring(70)))
    rewards = np.concatenate([*read.rows("rewards", 0, 70)])
    np.testing.assert_array_equal(rewards[:, 0], short()["rewards"][50:])


# -- what it refuses ---------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        (
            {"timesteps": np.arange(3), "results": np.zeros((3, 5))},
            UnsupportedCheckpoint,
            r"no observations and no actions and no rewards .*'timesteps', 'results'",
        ),
        ({**short(), "rewards": np.zeros(119)}, CorruptCheckpoint, "'rewards' have 119 rows"),
        (
            {**short(), "actions": np.array([None] * 120)},
            UnsupportedCheckpoint,
            "'actions' hold Python objects",
        ),
        ({**short(), "actions": np.array(["up"] * 120)}, UnsupportedCheckpoint, "'actions'"),
        ({**short(), "states": np.zeros((0, 3))}, CorruptCheckpoint, "'states'"),
        ({**short(), "states": np.zeros((120, 3), "c8")}, UnsupportedCheckpoint, "no numbers"),
        (
            {
                name: value
                for name, value in short().items()
                if name not in ("next_states", "dones")
            },
            UnsupportedCheckpoint,
            "where episodes end",
        ),
    ],
)
def test_what_is_no_buffer_is_said(
    tmp_path: Path, arrays: Arrays, error: Any, words: str, save: Any
) -> None:
    path = put(tmp_path, arrays, save)
    with pytest.raises(error, match=words) as caught:
        read_replay_buffer(path)
    assert "\n" not in str(caught.value)
    assert caught.value.path == path


def test_objects_beside_the_fields_are_left_alone(tmp_path: Path) -> None:
    """numpy would unpickle them; nothing here does."""
    read = read_replay_buffer(put(tmp_path, {**short(), "config": np.array({"lr": 1}, object)}))
    assert read.transitions == 120


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:2000],
        lambda data: data.replace(b"'shape': (120, 3)", b"'shape': (999, 3)"),
        lambda data: data.replace(b"'shape': (120, 3)", b"'shape': (-12, 3)"),
        lambda data: data.replace(b"'descr': '<f4'", b"'descr': '<f9'"),
        lambda data: data.replace(b"\x93NUMPY\x01", b"\x93NUMPY\x09"),
        lambda data: data[:300] + b"\xff" + data[301:],
    ],
)
def test_claims_that_do_not_fit_are_refused(tmp_path: Path, change: Any) -> None:
    path = put(tmp_path, short())
    data = path.read_bytes()
    assert change(data) != data
    path.write_bytes(change(data))
    with pytest.raises(SacdoctorError):
        read_replay_buffer(path)


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    arrays = {name: np.zeros((4_000_000, 3)) for name in ("states", "actions")}
    path = put(tmp_path, {**arrays, "rewards": np.zeros(4_000_000)}, np.savez_compressed)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(UnsupportedCheckpoint, match="more than is allowed"):
        read_replay_buffer(path)


def test_another_zip_is_none(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", b"{}")
    with pytest.raises(NotACheckpoint, match=r"neither a \.npz .* nor a pickle"):
        read_replay_buffer(path)


# -- cutting -----------------------------------------------------------------------------------


def cut(path: Path, rows: int) -> Path:
    out = path.with_name("clean.npz")
    write_without_oldest(read_replay_buffer(path), rows, out, overwrite=True)
    return out


@each_way
def test_arrays_without_room_become_shorter_and_all_else_stays(tmp_path: Path, save: Any) -> None:
    beside = {
        "log_probs": np.arange(120.0),
        "scale": np.array([1.0, 2.0, 4.0]),
        "name": np.array("SPY"),
        "config": np.array({"lr": 1}, object),
    }
    path = put(tmp_path, {**short(), **beside}, save)
    out = cut(path, 50)
    with np.load(path, allow_pickle=True) as old, np.load(out, allow_pickle=True) as new:
        assert new.files == old.files
        for name in old.files:
            expected = (
                old[name][50:] if len(old[name].shape) and len(old[name]) == 120 else old[name]
            )
            assert (new[name].dtype, new[name].shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(new[name], expected, name)
    with zipfile.ZipFile(path) as old_zip, zipfile.ZipFile(out) as new_zip:
        for before, after in zip(old_zip.infolist(), new_zip.infolist(), strict=True):
            assert after.compress_type == before.compress_type
            assert (after.filename, after.date_time) == (before.filename, before.date_time)


@each_way
@pytest.mark.parametrize(("room", "rows"), [(500, 50), (120, 50), (70, 10), (70, 20), (70, 30)])
def test_a_ring_is_what_its_class_would_have_saved(
    tmp_path: Path, room: int, rows: int, save: Any
) -> None:
    out = loaded(cut(put(tmp_path, ring(room), save), rows))
    left = {name: array[max(0, 120 - room) + rows :] for name, array in short().items()}
    for name, value in vars(filled(Ring, left, room)).items():
        np.testing.assert_array_equal(out[name], value, name)
        assert out[name].dtype == np.asarray(value).dtype


def test_what_is_written_without_room_is_numpys_own_bytes(tmp_path: Path) -> None:
    path = put(tmp_path, short())
    expected = tmp_path / "expected.npz"
    np.savez(expected, **{name: array[50:] for name, array in short().items()})
    assert cut(path, 50).read_bytes() == expected.read_bytes()


def test_one_observation_more_than_rewards_stays_one_more(tmp_path: Path) -> None:
    """Minari's episodes end with the observation behind the last step."""
    arrays = short()
    states = np.vstack((arrays["states"], arrays["next_states"][-1:]))
    saved = {"observations": states, "actions": arrays["actions"], "rewards": arrays["rewards"]}
    out = loaded(cut(put(tmp_path, {**saved, "terminations": arrays["dones"]}), 50))
    np.testing.assert_array_equal(out["observations"], states[50:])
    assert len(out["rewards"]) == 70


def test_objects_with_a_row_per_step_cannot_be_cut(tmp_path: Path) -> None:
    path = put(tmp_path, {**short(), "infos": np.array([{}] * 120)})
    with pytest.raises(UnsupportedCheckpoint, match="'infos' have a row per step"):
        cut(path, 50)
    assert [file.name for file in tmp_path.iterdir()] == ["buffer.npz"]


# -- the audit ---------------------------------------------------------------------------------

LOAD = """
import sys
import numpy as np
with np.load(sys.argv[1], allow_pickle=False) as file:
    assert np.abs(file["next_states"][:, 2] - file["actions"][:, 0]).max() == 0
    print(len(file["rewards"]))
"""


@each_way
def test_the_forced_head_is_found_and_goes(tmp_path: Path, save: Any) -> None:
    path, out = put(tmp_path, transitions(), save), tmp_path / "clean.npz"
    report = audit_warmup(path)
    head = report.forced_head
    assert head is not None
    assert (head.stored, head.earliest, head.latest) == ("varied", FORCED, FORCED)
    assert "--clean OUT.npz" in report.findings[0].remedy
    assert write_clean(report, out)
    again = audit_warmup(out)
    assert (again.transitions, again.forced_head, again.status) == (STEPS - FORCED, None, "healthy")
    ran = subprocess.run([sys.executable, "-c", LOAD, str(out)], check=True, capture_output=True)
    assert int(ran.stdout) == STEPS - FORCED


def test_a_head_of_one_action_is_found(tmp_path: Path) -> None:
    arrays = transitions()
    arrays["actions"][:FORCED] = 0.25
    report = audit_warmup(put(tmp_path, arrays))
    assert report.forced_head is not None
    assert (report.forced_head.transitions, report.forced_head.action) == (FORCED, (0.25,))


def test_a_head_is_found_where_the_next_observation_is_the_next_row(tmp_path: Path) -> None:
    arrays = transitions()
    del arrays["next_states"]
    report = audit_warmup(put(tmp_path, arrays))
    assert report.forced_head is not None
    assert report.forced_head.earliest <= FORCED <= report.forced_head.latest


@each_way
def test_a_healthy_buffer_is_not_accused(tmp_path: Path, save: Any) -> None:
    report = audit_warmup(put(tmp_path, transitions(400, 0), save))
    assert (report.forced_head, report.findings, report.status) == (None, (), "healthy")
