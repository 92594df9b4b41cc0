"""What all callbacks do alike: one summary, whoever says that it is over, and a last point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fixtures.faulty_training import train
from sacdoctor.training import (
    GradientGuard,
    TrainingHealthCallback,
    WarmupGuard,
    create_zero_prevention_system,
)

pytestmark = pytest.mark.slow

CALLBACKS = [create_zero_prevention_system, GradientGuard, TrainingHealthCallback]


@pytest.mark.parametrize("build", CALLBACKS)
def test_there_is_one_summary_per_training_whoever_ends_it(
    build: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """rl-zoo calls `on_training_end` of the first callback itself, after SB3 did."""
    callback = build()

    def told() -> list[str]:
        lines = capsys.readouterr().out.splitlines()
        assert all(line.startswith("sacdoctor: ") for line in lines)
        return lines

    first, second = train("SAC", steps=0), train("SAC", steps=0)
    for model in (first, first, second):
        model.learn(40, callback=callback)
        callback.on_training_end()
        assert len(told()) == 1


@pytest.mark.parametrize("build", [*CALLBACKS, WarmupGuard])
def test_the_same_things_have_the_same_names(build: Any) -> None:
    callback = build()
    assert isinstance(callback, BaseCallback) and callback.verbose == 1


def test_tensorboard_has_a_last_point_and_what_each_component_is_like(tmp_path: Path) -> None:
    model = train("SAC", steps=0)
    model.set_logger(configure(str(tmp_path), ["tensorboard"]))
    model.learn(90, callback=[create_zero_prevention_system(), GradientGuard()])
    model.logger.close()
    written = EventAccumulator(str(tmp_path)).Reload()
    tags = written.Tags()["scalars"]
    assert "sacdoctor/gradient_norm/critic" in tags
    for tag in ("sacdoctor/zero_percent", "sacdoctor/zero_percent_of/actor"):
        assert written.Scalars(tag)[-1].step == 90


def test_what_happened_is_in_tensorboard_as_text(tmp_path: Path) -> None:
    model = train("SAC", steps=0)
    model.set_logger(configure(str(tmp_path), ["tensorboard", "csv"]))
    model.learn(90, callback=TrainingHealthCallback())
    model.logger.close()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()["tensors"]
    assert "sacdoctor/event/training/text_summary" in tags
    assert "sacdoctor/event" not in (tmp_path / "progress.csv").read_text()
