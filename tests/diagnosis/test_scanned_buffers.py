"""`scan` of a replay buffer: what it holds, whether its head was forced, and what it would run."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacdoctor.diagnosis import scan
from sacdoctor.errors import SacdoctorError
from sacdoctor.model import Unjudged
from sacdoctor.options import ScanOptions
from tests.conftest import Run
from tests.own_buffers import Ring, filled, transitions

NAMES = ("memory.npz", "memory.pkl")


def put(path: Path, forced: int = 150, steps: int = 600, **more: Any) -> Path:
    arrays = transitions(steps, forced)
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    buffer = filled(Ring, arrays, 1_000)
    vars(buffer).update(more)
    path.write_bytes(pickle.dumps(buffer))
    return path


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


@pytest.mark.parametrize("name", NAMES)
def test_a_forced_head_is_a_finding(tmp_path: Path, name: str) -> None:
    report = scan(put(tmp_path / name))
    assert [finding.rule for finding in report.findings] == ["SD503"]
    assert (report.status, report.unjudged) == ("warning", None)


@pytest.mark.parametrize("name", NAMES)
def test_a_healthy_buffer_is_healthy(tmp_path: Path, name: str) -> None:
    report = scan(put(tmp_path / name, forced=0))
    assert (report.status, report.findings, report.unjudged) == ("healthy", (), None)


@pytest.mark.parametrize("name", NAMES)
def test_where_it_cannot_be_told_nothing_is_said(tmp_path: Path, name: str) -> None:
    report = scan(put(tmp_path / name, steps=40, forced=0))
    assert (report.status, report.unjudged) == ("unknown", Unjudged.ACTIONS)


def test_what_it_holds_is_told(tmp_path: Path) -> None:
    held = scan(put(tmp_path / "memory.pkl")).replay
    assert held is not None
    assert (held.class_name, held.transitions, held.capacity, held.n_envs) == ("Ring", 600, 1000, 1)
    assert held.arrays["observations"] == ((1000, 1, 3), "float32")


def test_dangerous_code_comes_first(tmp_path: Path) -> None:
    report = scan(put(tmp_path / "memory.pkl", extra=Bomb()))
    assert [finding.rule for finding in report.findings] == ["SD601", "SD503"]
    assert report.status == "critical"


def test_the_gate_names_the_users_class_and_reads_no_transition(tmp_path: Path) -> None:
    report = scan(put(tmp_path / "memory.pkl"), ScanOptions(select=("SD6",)))
    assert [finding.rule for finding in report.findings] == ["SD602"]
    assert "tests.own_buffers.Ring" in report.findings[0].evidence
    assert report.replay is None


def test_a_rule_about_buffers_can_be_asked_for_alone(tmp_path: Path) -> None:
    path = put(tmp_path / "memory.pkl", extra=Bomb())
    report = scan(path, ScanOptions(select=("SD503",)))
    assert [finding.rule for finding in report.findings] == ["SD503"]


def test_of_another_pickle_the_code_alone_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "vecnormalize.pkl"
    path.write_bytes(pickle.dumps({"mean": np.zeros(3)}))
    assert scan(path).unjudged is Unjudged.CODE_ALONE


def test_arrays_that_are_no_buffer_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.npz"
    np.savez(path, timesteps=np.arange(3), results=np.zeros((3, 5)))
    with pytest.raises(SacdoctorError, match="'timesteps', 'results'"):
        scan(path)
    with pytest.raises(SacdoctorError, match="arrays alone"):
        scan(put(tmp_path / "memory.npz"), ScanOptions(select=("SD6",)))


@pytest.mark.parametrize("name", NAMES)
def test_the_command_shows_it(run: Run, tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name)
    words = " ".join(run("scan", path).out.split())
    assert "600 of" in words
    assert "WARNING The first 150 transitions store actions that were not carried out" in words
    document = json.loads(run("scan", path, "--format", "json").out)
    assert document["checkpoints"][0]["replay"]["transitions"] == 600
    words = " ".join(run("scan", put(tmp_path / name, forced=0)).out.split())
    assert "HEALTHY The stored actions are the ones that were carried out" in words
