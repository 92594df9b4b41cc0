"""Constants that older SB3 pickled as functions are read off, and nothing else is taken for one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from sacdoctor.checkpoint.schedules import constant_of
from tests.payloads import Calls

Schedule = Callable[[float], float]


# As stable_baselines3/common/utils.py had them before its classes for schedules.
def constant_fn(val: Any) -> Schedule:
    def func(_: float) -> float:
        return val

    return func


def get_schedule_fn(value_schedule: Schedule) -> Schedule:
    return lambda progress_remaining: float(value_schedule(progress_remaining))


def linear_schedule(initial: float) -> Schedule:
    def func(progress: float) -> float:
        return progress * initial

    return func


def two_cells(one: float, other: float) -> Schedule:
    def func(_: float) -> float:
        return one + other

    return func


@pytest.mark.parametrize("wraps", range(3))
@pytest.mark.parametrize("value", [0.2, 3e-4, 1])
def test_constant_is_read_off(value: float, wraps: int) -> None:
    schedule = constant_fn(value)
    for _ in range(wraps):
        schedule = get_schedule_fn(schedule)
    assert constant_of(cloudpickle.dumps(schedule)) == schedule(0.5) == value


@pytest.mark.parametrize(
    "schedule",
    [
        linear_schedule(0.2),
        get_schedule_fn(linear_schedule(0.2)),
        two_cells(0.1, 0.1),
        constant_fn("0.2"),
        constant_fn(constant_fn(0.2)),
        get_schedule_fn(0.2),  # type: ignore[arg-type]
        lambda _: 0.2,
        lambda p: p,
        0.2,
        Calls(float, "0.2"),
    ],
)
def test_anything_else_is_not_taken_for_one(schedule: Any) -> None:
    assert constant_of(cloudpickle.dumps(schedule)) is None


def test_damage_is_no_constant() -> None:
    data = cloudpickle.dumps(constant_fn(0.2))
    for end in range(len(data)):
        assert constant_of(data[:end]) is None


def test_function_around_itself_comes_to_an_end() -> None:
    schedule = constant_fn(0.2)
    for _ in range(50):
        schedule = get_schedule_fn(schedule)
    assert constant_of(cloudpickle.dumps(schedule)) is None
    assert constant_of(pickle.dumps(None)) is None
