"""A monitor's figures reach TensorBoard, Python's logging, and any function."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from sacdoctor.training import TrainingMonitor
from tests.training.injured_loop import Loop

TAGS = {
    "sacdoctor/zero_percent",
    "sacdoctor/worst_zero_percent",
    "sacdoctor/dead_biases",
    "sacdoctor/repaired",
    "sacdoctor/gradient_norm/actor",
    "sacdoctor/gradient_norm/critic",
}


def train(log: Any, steps: int = 200) -> TrainingMonitor:
    loop = Loop()
    monitor = TrainingMonitor(loop.modules, loop.optimizers, log, check_frequency=50, verbose=0)
    with monitor:
        for step in range(1, steps + 1):
            loop.update()
            monitor.step(step)
    return monitor


def test_a_summary_writer_has_them_up_to_the_last_step(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        train(writer)
    written = EventAccumulator(str(tmp_path)).Reload()
    assert set(written.Tags()["scalars"]) >= TAGS
    assert [point.step for point in written.Scalars("sacdoctor/zero_percent")] == [
        *(0, 50, 100, 150, 200)
    ]
    assert written.Scalars("sacdoctor/gradient_norm/critic")[-1].step == 200


def test_a_function_gets_tag_value_and_step() -> None:
    seen: list[tuple[str, float, int]] = []
    train(lambda tag, value, step: seen.append((tag, value, step)))
    assert {tag for tag, _, _ in seen} >= TAGS
    assert ("sacdoctor/dead_biases", 0.0, 50) in seen
    assert all(isinstance(value, float) for _, value, _ in seen)


def test_a_logger_gets_a_line_for_all_of_a_step(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="mine"):
        train(logging.getLogger("mine"))
    lines = [record.getMessage() for record in caplog.records if record.name == "mine"]
    assert any(line.startswith("at 50 steps: sacdoctor/zero_percent 0, ") for line in lines)
    assert len([line for line in lines if line.startswith("at 200 steps: ")]) == 1
