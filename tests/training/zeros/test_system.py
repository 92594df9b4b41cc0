"""One call makes the callback, from Python and from rl-zoo."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

from fixtures.faulty_training import train
from sacdoctor.training import (
    ZeroWeightsPreventionCallback,
    create_zero_prevention_system,
)

pytestmark = pytest.mark.slow


def test_it_takes_what_the_callback_takes() -> None:
    made, taken = (
        inspect.signature(each).parameters
        for each in (ZeroWeightsPreventionCallback, create_zero_prevention_system)
    )
    assert made == taken


def test_rl_zoo_builds_it_from_yaml() -> None:
    """As `rl_zoo3.utils.get_callback_list` does: a dotted path, and a dict of arguments."""
    entry = {"sacdoctor.training.ZeroWeightsPreventionCallback": {"check_frequency": 20}}
    ((path, arguments),) = entry.items()
    module, _, name = path.rpartition(".")
    callback = getattr(importlib.import_module(module), name)(**arguments)
    model = train("PPO", steps=0)
    model.learn(64, callback=[callback])
    assert len(callback.history) == 5  # the start, 20, 40, 60, and the end


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"check_frequency": 0}, "check_frequency"),
        ({"on_missing_parameters": "ignore"}, "on_missing_parameters"),
        ({"warning": 40.0}, "warning threshold"),
        ({"max_grad_norm": -1.0}, "max_grad_norm"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_zero_prevention_system(**options)
