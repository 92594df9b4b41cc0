"""Trainings whose faults show between checkpoints or in logs: each is named, and nothing else."""

from __future__ import annotations

import pytest

from fixtures.faulty_logs import LoggedRun, runs
from sacdoctor.history import History, read_history
from sacdoctor.severity import Severity
from tests.labelled import Labelled

RUNS = {run.name: run for run in runs()}
SOUND = [run for run in RUNS.values() if run.healthy]
JUMPS = [run for run in RUNS.values() if "SD807" in run.rules]


def history_of(run: LoggedRun, labelled: Labelled) -> History:
    return read_history(labelled.path(run.name))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_fault_is_named_by_its_rule_and_no_other(run: LoggedRun, labelled: Labelled) -> None:
    history = history_of(run, labelled)
    found = [finding for of in history.runs for finding in of.findings]
    found += [of.finding for of in history.logged]
    assert {f.rule for f in found if f.severity.rank >= Severity.WARNING.rank} == run.rules


@pytest.mark.parametrize("run", SOUND, ids=lambda run: run.name)
def test_checkpoints_of_sound_trainings_have_nothing_either(
    run: LoggedRun, labelled: Labelled
) -> None:
    onsets = [onset for of in history_of(run, labelled).runs for onset in of.onsets]
    assert [of.rule for of in onsets if of.severity.rank >= Severity.WARNING.rank] == []


@pytest.mark.parametrize("run", JUMPS, ids=lambda run: run.name)
def test_a_jump_is_placed_between_the_checkpoints_around_it(
    run: LoggedRun, labelled: Labelled
) -> None:
    (of_run,) = history_of(run, labelled).runs
    (told,) = (finding for finding in of_run.findings if finding.rule == "SD807")
    assert "between 200 and 300 steps" in told.message


@pytest.mark.parametrize("algorithm", ["a2c", "dqn", "ppo", "sac"])
def test_weights_of_another_model_have_nothing_left(algorithm: str, labelled: Labelled) -> None:
    (of_run,) = history_of(RUNS[f"run_another_model_{algorithm}"], labelled).runs
    assert "nothing is left" in of_run.findings[0].evidence


@pytest.mark.parametrize("algorithm", ["sac", "tqc"])
def test_an_entropy_coefficient_that_was_set_is_named(algorithm: str, labelled: Labelled) -> None:
    (of_run,) = history_of(RUNS[f"run_entropy_set_{algorithm}"], labelled).runs
    (told,) = of_run.findings
    assert told.tensors == ("log_ent_coef",)
    assert "the entropy coefficient" in told.message
    assert "at a rate of 0.0003" in told.evidence
