"""What is kept of one optimizer's gradients."""

from __future__ import annotations

import pytest

from sacdoctor.training.gradients import GradientRecord


def test_the_usual_norm_is_the_geometric_mean_once_there_are_twenty() -> None:
    record = GradientRecord()
    for number in range(19):
        record.add(1.0 if number % 2 else 100.0)
        assert record.usual is None
    record.add(1.0)
    assert record.usual == pytest.approx(10.0)
    assert (record.steps, record.measured, record.last, record.largest) == (20, 20, 1.0, 100.0)


def test_each_mean_is_that_since_the_last_one() -> None:
    record = GradientRecord()
    record.add(1.0)
    record.add(3.0)
    assert record.take_mean() == 2.0
    assert record.take_mean() is None
    record.add(5.0)
    assert record.take_mean() == 5.0
