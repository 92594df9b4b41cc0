"""A look at a whole run: its fault comes first, said once; of a healthy one nothing is said."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from fixtures.faulty_buffers import filled, one_reward
from sacdoctor import SacdoctorError, check_up
from sacdoctor.severity import Severity
from tests.labelled import CASES, RUNS, Labelled
from tests.runs import Runs

FAULTY = [name for name, case in RUNS.items() if not case.healthy]
HEALTHY = [name for name, case in RUNS.items() if case.healthy]


@pytest.mark.parametrize("name", FAULTY)
def test_the_planted_fault_comes_first_and_each_is_said_once(labelled: Labelled, name: str) -> None:
    concerns = check_up(labelled.path(name)).concerns
    assert concerns[0].finding.rule in RUNS[name].rules
    rules = [of.finding.rule for one in concerns for of in (one, *one.explains)]
    assert len(rules) == len(set(rules))


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_of_a_healthy_run(labelled: Labelled, name: str) -> None:
    found = check_up(labelled.path(name))
    told = [one.finding for one in found.concerns if one.finding.severity is not Severity.NOTICE]
    assert (found.status in ("healthy", "notice"), told, found.crashes) == (True, [], ())
    assert found.commands == ()


def test_zeros_stand_below_their_cause(runs: Runs) -> None:
    (concern,) = check_up(runs("late layers")).concerns
    assert concern.finding.rule == "SD202"
    assert [of.finding.rule for of in concern.explains] == ["SD101"]


def test_it_says_when_a_fault_came_up(runs: Runs) -> None:
    """`tests.runs` sets the bias to zero after step 450; checkpoints are 100 steps apart."""
    found = check_up(runs("dead bias"))
    onset = found.concerns[0].onset
    assert onset is not None
    assert (onset.after_timesteps, onset.by_timesteps) == (400, 500)
    assert [of.by_timesteps for of in found.timeline] == [500, 500]


def test_a_crash_of_the_return_stands_in_the_timeline_behind_what_came_before(runs: Runs) -> None:
    found = check_up(runs("crash"))
    assert [of.what.split(" ")[0] for of in found.timeline] == ["learning", "SD404", "the"]
    assert found.status == "warning"


def test_a_fault_in_the_buffer_beside_the_newest_checkpoint_is_found(
    labelled: Labelled, tmp_path: Path
) -> None:
    name = next(n for n, case in CASES.items() if case.healthy and case.algorithm == "SAC")
    shutil.copy(labelled.path(name), tmp_path / "model.zip")
    buffer = pickle.loads(pickle.dumps(filled("SAC")))
    one_reward(float("nan"))(buffer)
    (tmp_path / "model_replay_buffer.pkl").write_bytes(pickle.dumps(buffer))
    for path in (tmp_path, tmp_path / "model.zip", tmp_path / "model"):
        found = check_up(path)
        assert [one.finding.rule for one in found.concerns if one.finding.severity.rank > 1] == [
            "SD901"
        ]
        assert found.concerns[0].where == ("model_replay_buffer.pkl",)
        assert "model_replay_buffer.pkl (2,400 transitions)" in found.looked_at


def test_what_is_not_there_is_said(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    assert check_up(folder).not_there == ("a replay buffer", "evaluations.npz")
    for path in folder.glob("*.zip"):
        path.unlink()
    found = check_up(folder)
    assert found.status == "unknown"
    assert found.not_there[0] == "a checkpoint (.zip)"


def test_what_cannot_be_read_is_part_of_the_result(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    (folder / "broken.zip").write_bytes(b"PK\3\4" + bytes(100))
    (folder / "rl_model_replay_buffer_1000_steps.pkl").write_bytes(b"\x80\x04K")
    found = check_up(folder)
    assert {Path(of.path).name for of in found.unreadable} == {
        "broken.zip",
        "rl_model_replay_buffer_1000_steps.pkl",
    }
    assert found.statuses == {"healthy", "error"}


def test_where_there_is_nothing_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SacdoctorError, match="no checkpoints"):
        check_up(tmp_path)
    with pytest.raises(SacdoctorError):
        check_up(tmp_path / "nowhere.zip")


def test_a_crash_is_of_the_run_whose_log_shows_it(runs: Runs, tmp_path: Path) -> None:
    runs.copy("crash", tmp_path / "one")
    runs.copy("healthy PPO", tmp_path / "two")
    found = check_up(tmp_path)
    assert found.history is not None
    (name,) = [run.name for run in found.history.runs if run.algorithm == "SAC"]
    assert [of.run for of in found.timeline if "median return" in of.what] == [name]


def test_the_networks_are_set_to_work_on_the_buffer_unless_told_not_to(
    labelled: Labelled,
) -> None:
    path = labelled.path("run_resumed_dqn")
    assert "the networks at work on 399 observations" in check_up(path).looked_at
    assert not [of for of in check_up(path, probe=False).looked_at if "at work" in of]


def test_why_the_networks_could_not_work_is_said(
    labelled: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ImportError("sacdoctor checkup needs gymnasium: pip install 'sacdoctor[train]'")

    monkeypatch.setattr("sacdoctor.checkup.look.imported", missing)
    (said,) = (of for of in check_up(labelled.path("run_resumed_dqn")).not_there if "work" in of)
    assert "pip install 'sacdoctor[train]'" in said
