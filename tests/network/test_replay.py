"""A live replay buffer that holds what SB3 would have unpickled, and nothing of it has run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

import sacdoctor
from sacdoctor.errors import CheckpointError, Unloadable
from sacdoctor.files import held
from tests.payloads import Calls, touch
from tests.replay_buffers import KINDS, of_kind

pytestmark = pytest.mark.slow


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            assert_same(ours[key], value)
    else:
        assert ours == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_buffer_that_was_saved(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(of_kind(kind).buffer, pickle.HIGHEST_PROTOCOL))
    theirs = pickle.loads(path.read_bytes())
    ours = sacdoctor.load_replay_buffer(path)
    assert type(ours) is type(theirs)
    assert_same(vars(ours), vars(theirs))


def test_that_of_a_large_file_is_read_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "buffer.pkl"
    box = spaces.Box(-1.0, 1.0, (8,), np.float32)
    buffer = ReplayBuffer(50_000, box, box, device="cpu")
    buffer.observations[:] = np.random.default_rng(0).normal(size=buffer.observations.shape)
    path.write_bytes(pickle.dumps(buffer, pickle.HIGHEST_PROTOCOL))
    monkeypatch.setattr(held, "WHOLE", 0)
    assert_same(vars(sacdoctor.load_replay_buffer(path)), vars(pickle.loads(path.read_bytes())))


def test_a_model_trains_on_with_it(tmp_path: Path) -> None:
    path = of_kind("plain").save(tmp_path)
    model = sacdoctor.load(tmp_path / "model.zip")
    model.replay_buffer = sacdoctor.load_replay_buffer(path)  # type: ignore[attr-defined]
    batch = model.replay_buffer.sample(4)  # type: ignore[attr-defined]
    assert batch.observations.shape[0] == 4


def test_a_payload_in_it_does_not_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "buffer.pkl"
    buffer = of_kind("plain").buffer
    buffer.harm = Calls(touch, os.fspath(mark))  # type: ignore[attr-defined]
    try:
        path.write_bytes(pickle.dumps(buffer))
    finally:
        del buffer.harm  # type: ignore[attr-defined]
    with pytest.raises(Unloadable, match=r"buffer\.pkl: .*touch"):
        sacdoctor.load_replay_buffer(path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"observations": 1})])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.pkl"):
        sacdoctor.load_replay_buffer(path)
