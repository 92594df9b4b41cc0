"""Buffers of own classes: read as they are, cut as the class itself would have filled them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacdoctor.diagnosis.warmup import audit_warmup, write_clean
from sacdoctor.errors import CorruptCheckpoint, SacdoctorError, UnsupportedCheckpoint
from sacdoctor.replay import read_replay_buffer, write_without_oldest
from tests.conftest import ROOT
from tests.own_buffers import (
    FORCED,
    KINDS,
    RINGS,
    STEPS,
    USUAL,
    Arrays,
    Deque,
    Listed,
    Ring,
    Step,
    filled,
    transitions,
)

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
each_protocol = pytest.mark.parametrize("protocol", [2, 3, 4, 5])
FIELDS = ("observations", "actions", "rewards", "next_observations", "dones")


def put(tmp_path: Path, thing: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Path:
    path = tmp_path / "memory.pkl"
    path.write_bytes(pickle.dumps(thing, protocol))
    return path


def part(arrays: Arrays, start: int, stop: int | None = None) -> Arrays:
    return {name: array[start:stop] for name, array in arrays.items()}


def taken(buffer: Any, field: str) -> Any:
    values = np.concatenate([*buffer.rows(field, 0, buffer.size)])
    return values.reshape(buffer.size, -1)


def assert_holds(buffer: Any, arrays: Arrays) -> None:
    """Every transition, in order of time."""
    assert buffer.transitions == len(arrays["rewards"])
    for field, name in zip(FIELDS, USUAL, strict=True):
        expected = arrays[name].reshape(len(arrays[name]), -1)
        np.testing.assert_array_equal(taken(buffer, field), expected, name)


# -- reading -----------------------------------------------------------------------------------


@each_protocol
@each_kind
def test_every_transition_is_read(tmp_path: Path, kind: Any, protocol: int) -> None:
    arrays = transitions(120, 30)
    read = read_replay_buffer(put(tmp_path, filled(kind, arrays, 200), protocol))
    assert (read.class_name, read.n_envs) == (kind.__name__, 1)
    assert_holds(read, arrays)


@each_kind
def test_those_that_were_overwritten_are_gone(tmp_path: Path, kind: Any) -> None:
    arrays = transitions(120, 30)
    read = read_replay_buffer(put(tmp_path, filled(kind, arrays, 70)))
    assert_holds(read, arrays if kind.__name__ in ("Listed", "Slotted") else part(arrays, 50))


def test_the_next_value_may_stand_before_the_reward_or_behind_it(tmp_path: Path) -> None:
    arrays = transitions(40, 10)
    usual = [tuple(arrays[name][step] for name in USUAL) for step in range(40)]
    torchs = [(s, a, n, float(r)) for s, a, r, n, _ in usual]
    for memory in (usual, torchs):
        read = read_replay_buffer(put(tmp_path, memory))
        np.testing.assert_array_equal(taken(read, "rewards")[:, 0], arrays["rewards"])
        np.testing.assert_array_equal(taken(read, "next_observations"), arrays["next_states"])


def test_plain_lists_of_numbers_are_read(tmp_path: Path) -> None:
    arrays = transitions(40, 10)
    lists = {name: array.tolist() for name, array in arrays.items()}
    rows = [tuple(lists[name][step] for name in USUAL) for step in range(40)]
    for thing in (lists, {"memory": rows}):
        read = read_replay_buffer(put(tmp_path, thing))
        np.testing.assert_array_equal(taken(read, "observations"), arrays["states"])
        np.testing.assert_array_equal(taken(read, "rewards")[:, 0], arrays["rewards"])


def test_a_buffer_inside_an_agent_is_found(tmp_path: Path) -> None:
    arrays = transitions(40, 10)
    agent = {"step": 40, "history": [1.0, 2.0], "agent": [{"memory": filled(Ring, arrays, 50)}]}
    assert_holds(read_replay_buffer(put(tmp_path, agent)), arrays)


def test_a_dict_of_observations_has_parts(tmp_path: Path) -> None:
    arrays = transitions(40, 10)
    states = {"place": arrays["states"][:, 2:], "rest": arrays["states"][:, :2]}
    after = {"place": arrays["next_states"][:, 2:], "rest": arrays["next_states"][:, :2]}
    saved = {"observations": states, "next_observations": after, "actions": arrays["actions"]}
    read = read_replay_buffer(put(tmp_path, {**saved, "rewards": arrays["rewards"]}))
    assert read.observation_names == ("observations.place", "observations.rest")
    np.testing.assert_array_equal(taken(read, "observations.place"), states["place"])


def test_rows_of_several_environments_are_told(tmp_path: Path) -> None:
    arrays = {name: array.reshape(20, 6, -1) for name, array in transitions(120, 30).items()}
    read = read_replay_buffer(put(tmp_path, arrays))
    assert (read.n_envs, read.capacity, read.transitions) == (6, 20, 120)
    np.testing.assert_array_equal(read.arrays["rewards"], arrays["rewards"][:, :, 0])


# -- what it refuses ---------------------------------------------------------------------------


def changed(name: str, value: Any) -> Arrays:
    return {**transitions(40, 10), name: value}


@pytest.mark.parametrize(
    ("thing", "error", "words"),
    [
        (changed("rewards", np.zeros(39)), CorruptCheckpoint, "'rewards' have 39 rows"),
        (changed("actions", np.zeros((40, 2), object)), UnsupportedCheckpoint, "'actions'"),
        (changed("rewards", np.zeros((40, 2))), UnsupportedCheckpoint, "one number per"),
        (changed("states", np.zeros((0, 3))), CorruptCheckpoint, "'states' are empty"),
        (changed("states", [np.zeros(3)] * 39 + [np.zeros(2)]), CorruptCheckpoint, "'states'"),
        ({"weights": np.zeros(3), "epoch": 7}, UnsupportedCheckpoint, "'weights', 'epoch'"),
        ([(1, 2), (3, 4)], UnsupportedCheckpoint, "no replay buffer is found"),
        ([], UnsupportedCheckpoint, "no replay buffer is found"),
        (Ring(50), UnsupportedCheckpoint, "no transition yet"),
    ],
)
def test_what_is_no_buffer_is_said(tmp_path: Path, thing: Any, error: Any, words: str) -> None:
    path = put(tmp_path, thing)
    with pytest.raises(error, match=words) as caught:
        read_replay_buffer(path)
    assert "\n" not in str(caught.value)


# -- cutting -----------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A deque as the list of its items and its room, objects as dicts: what numpy compares."""
    if not isinstance(value, deque):
        return value
    items = [vars(item) if isinstance(item, Step) else item for item in value]
    return [type(value[0]).__name__, value.maxlen, *items]


def cut(path: Path, rows: int) -> Path:
    out = path.with_name("clean.pkl")
    write_without_oldest(read_replay_buffer(path), rows, out, overwrite=True)
    return out


@each_protocol
@each_kind
def test_what_is_written_is_what_the_class_itself_fills(
    tmp_path: Path, kind: Any, protocol: int
) -> None:
    """Array by array, counter by counter; only protocol 2 keeps arrays as text."""
    arrays = transitions(120, 30)
    path = put(tmp_path, filled(kind, arrays, 200), protocol)
    if protocol == 2 and kind.__name__ in ("Ring", "Counted", "Slotted"):
        with pytest.raises(UnsupportedCheckpoint, match="cannot be cleaned"):
            cut(path, 50)
        return
    written = pickle.loads(cut(path, 50).read_bytes())
    expected = filled(kind, part(arrays, 50), 200)
    assert type(written) is kind
    names = [*getattr(kind, "__slots__", ()), *getattr(written, "__dict__", ())]
    for name in names:
        np.testing.assert_equal(plain(getattr(written, name)), plain(getattr(expected, name)), name)


@pytest.mark.parametrize("rows", [1, 19, 20, 21, 69])
@pytest.mark.parametrize("kind", RINGS, ids=lambda kind: kind.__name__)
def test_a_ring_that_has_wrapped_is_put_in_order(tmp_path: Path, kind: Any, rows: int) -> None:
    """120 transitions through 70 rows: the oldest stands in row 50."""
    arrays = transitions(120, 30)
    written = pickle.loads(cut(put(tmp_path, filled(kind, arrays, 70)), rows).read_bytes())
    expected = filled(kind, part(arrays, 50 + rows), 70)
    for name, value in vars(expected).items():
        np.testing.assert_equal(getattr(written, name), value, name)
    assert_holds(read_replay_buffer(tmp_path / "clean.pkl"), part(arrays, 50 + rows))


def test_states_that_transitions_share_stay_shared(tmp_path: Path) -> None:
    """A state is pickled where it comes first: as the next one of a transition that goes."""
    arrays = transitions(120, 30)
    states = [*arrays["states"], arrays["next_states"][-1]]
    memory = Deque(200)
    for step in range(120):
        memory.add(states[step], arrays["actions"][step], 0.5 * step, states[step + 1], False)
    written = pickle.loads(cut(put(tmp_path, memory), 50).read_bytes())
    assert len(written.memory) == 70
    assert written.memory.maxlen == 200
    np.testing.assert_equal([*written.memory], [*memory.memory][50:])


def test_the_class_goes_on_with_a_clean_copy(tmp_path: Path) -> None:
    arrays = transitions(120, 30)
    written = pickle.loads(cut(put(tmp_path, filled(Ring, arrays, 100)), 40).read_bytes())
    for step in range(50):
        written.add(*(arrays[name][step] for name in USUAL))
    expected = np.concatenate((arrays["rewards"][70:120], arrays["rewards"][:50]))
    order = np.roll(np.arange(100), -written.ptr)
    np.testing.assert_array_equal(written.reward[order, 0], expected)


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("sum_tree", np.zeros(255), "priorities"),
        ("infos", np.array([{}] * 200, object), "'infos' hold Python objects"),
        ("ptr", np.int64(120), "`ptr` is not kept as a plain whole number"),
    ],
)
def test_what_cannot_be_cut_is_said_and_nothing_written(
    tmp_path: Path, attribute: str, value: Any, words: str
) -> None:
    buffer = filled(Ring, transitions(120, 30), 200)
    setattr(buffer, attribute, value)
    path = put(tmp_path, buffer)
    with pytest.raises(UnsupportedCheckpoint, match=words):
        cut(path, 50)
    assert [file.name for file in tmp_path.iterdir()] == ["memory.pkl"]


def test_a_list_whose_oldest_stands_in_its_middle_is_refused(tmp_path: Path) -> None:
    buffer = filled(Listed, transitions(40, 10), 40)
    buffer.position = 7
    with pytest.raises(UnsupportedCheckpoint, match="middle of a list"):
        cut(put(tmp_path, buffer), 20)


# -- the audit ---------------------------------------------------------------------------------

LOAD = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    buffer = pickle.load(file)
states, actions, rewards, following = buffer.sample(32)
assert len(states) == len(actions) == len(rewards) == len(following) == 32
# Outcomes follow the actions: the next state shows the place that was asked for.
assert abs(following[:, 2] - actions[:, 0]).max() == 0, "a forced transition is left"
"""


@pytest.mark.slow
@each_kind
def test_the_forced_head_goes_and_the_class_samples_from_the_rest(
    tmp_path: Path, kind: Any
) -> None:
    path, out = put(tmp_path, filled(kind, transitions(), 1_000)), tmp_path / "clean.pkl"
    before = path.read_bytes()
    report = audit_warmup(path)
    head = report.forced_head
    assert head is not None
    assert (head.stored, head.earliest, head.latest) == ("varied", FORCED, FORCED)
    assert report.share == FORCED / STEPS
    assert [finding.rule for finding in report.findings] == ["SD503"]
    assert "ExecutedActionReplayBuffer" not in report.findings[0].remedy
    assert write_clean(report, out)
    assert path.read_bytes() == before
    again = audit_warmup(out)
    assert (again.transitions, again.forced_head, again.status) == (STEPS - FORCED, None, "healthy")
    subprocess.run([sys.executable, "-c", LOAD, str(out)], cwd=ROOT, check=True)


@each_kind
def test_a_healthy_buffer_is_not_accused(tmp_path: Path, kind: Any) -> None:
    report = audit_warmup(put(tmp_path, filled(kind, transitions(400, 0), 1_000)))
    assert (report.forced_head, report.findings, report.status) == (None, (), "healthy")


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    data = pickle.dumps(filled(Deque, transitions(40, 10), 50), 4)
    path = tmp_path / "memory.pkl"
    for size in range(2, len(data), 97):
        path.write_bytes(data[:size])
        with pytest.raises(SacdoctorError):
            read_replay_buffer(path)
