"""The benchmark of other people's faults: its labels, and what it counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.foreign_faults import BASES, SEED, Fault, Plant, faults, fits, said, train, verdict
from sacdoctor.diagnosis.rules import RULES
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def finding(rule: str, message: str, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(rule, "", severity, (), message, "", "")


def test_every_fault_is_labelled_or_says_why_no_file_shows_it() -> None:
    known = {rule.code for rule in RULES} | {"*"}
    for fault in faults():
        assert bool(fault.cause) is not bool(fault.hidden), fault.name
        assert {sign.split(" ")[0] for sign in (*fault.cause, *fault.symptom)} <= known, fault.name
        assert fault.base in BASES


def test_there_are_90_faults_of_six_sources_and_no_name_comes_twice() -> None:
    all_of_them = faults()
    assert len(all_of_them) >= 90
    assert len({fault.source for fault in all_of_them}) == 6
    assert max(Counter(fault.name for fault in all_of_them).values()) == 1


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([finding("SD405", "gamma 0.45 is out of its range")], "cause"),
        ([finding("SD405", "tau 0.12 is out of its range")], "missed"),
        ([finding("SD209", "the target does not follow")], "symptom"),
        ([finding("SD405", "gamma 0.45 is out of its range", Severity.NOTICE)], "notice"),
        ([], "missed"),
    ],
)
def test_a_finding_names_what_its_label_says(found: list[Finding], expected: str) -> None:
    fault = Fault("a", "b", "c", "dqn", Plant(), ("SD405 gamma",), ("SD209",))
    assert verdict(fault, found) == expected


def test_underscores_and_capitals_do_not_count() -> None:
    assert fits("* Weight_decay", finding("SD405", "a weightdecay of 0.1"))
    assert not fits("SD404 decay", finding("SD405", "a decay of 0.1"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["muprl_a2c_n_steps_2", "rlmutation_a2c_MSU"])
def test_a_fault_is_planted_and_named(tmp_path: Path, name: str) -> None:
    (fault,) = [fault for fault in faults() if fault.name == name]
    train(BASES[fault.base], fault.plant, tmp_path / name, SEED)
    assert verdict(fault, said(tmp_path / name)) == "cause"
