"""Faults planted while a model trains are named within two checks: some rows of the table."""

from __future__ import annotations

import pytest

from benchmarks.injected_faults import ALGORITHMS, MOST_CHECKS, faults, named_after
from benchmarks.watched import configurations, troubles
from sacdoctor.algorithms import ALGORITHMS as ALL

QUICK = {
    ("zero bias, actor", "SAC"),
    ("zero bias, target", "TD3"),
    ("ReLU bias -100", "DQN"),
    ("detached layers", "TD3"),
    ("late layers", "A2C"),
    ("NaN gradient", "SAC"),
    ("NaN reward", "DQN"),
    ("tau 0", "SAC"),
    ("rate 1.0", "PPO"),
    ("entropy coefficient 1e-8", "SAC"),
}


def test_the_table_has_every_algorithm_and_each_row_once() -> None:
    rows = [(fault.name, fault.algorithm) for fault in faults()]
    assert len(rows) == len(set(rows))
    assert {algorithm for _, algorithm in rows} >= {*ALGORITHMS}
    assert set(rows) >= QUICK


@pytest.mark.slow
@pytest.mark.parametrize(("name", "algorithm"), sorted(QUICK))
def test_a_planted_fault_is_named_within_two_checks(name: str, algorithm: str) -> None:
    (fault,) = [of for of in faults() if (of.name, of.algorithm) == (name, algorithm)]
    checks, lines = named_after(fault)
    assert checks is not None and checks <= MOST_CHECKS, lines


def test_every_algorithm_is_watched_while_it_is_healthy() -> None:
    names = {watched.name.split()[0] for watched in configurations()}
    assert names >= {*ALL}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PPO ReLU", "A2C ReLU", "TD3 Tanh", "RecurrentPPO LSTM Tanh"])
def test_a_healthy_training_is_left_in_peace(name: str) -> None:
    (watched,) = [of for of in configurations() if of.name == name]
    assert troubles(watched, seed=0) == []
