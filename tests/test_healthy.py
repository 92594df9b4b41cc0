"""Of healthy trainings nothing is said at warning or worse: the quick ones of the benchmark."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.healthy import SEEDS, measure, trainings
from sacdoctor.algorithms import ALGORITHMS

QUICK = ("a2c_relu", "trpo_relu", "maskableppo_relu", "recurrentppo_relu", "ppo_zoo_cart", "ars")


def test_every_algorithm_is_among_them_and_60_runs_are() -> None:
    kinds = list(trainings())
    assert {kind.algorithm.__name__ for kind in kinds} == {*ALGORITHMS}
    assert len(kinds) * len(SEEDS) >= 60
    assert max(Counter(kind.name for kind in kinds).values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_healthy_training_is_not_warned_about(tmp_path: Path, name: str) -> None:
    (kind,) = [kind for kind in trainings() if kind.name == name]
    ((_, found),) = measure(tmp_path, [kind], [0])
    assert found == []
