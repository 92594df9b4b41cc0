"""Settings that SB3 pickles, read without running them: action space, noise, constant schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sacdoctor.checkpoint import Checkpoint, Pickled, constant_of
from sacdoctor.diagnosis.policy_settings import policy_arguments
from sacdoctor.errors import CheckpointError
from sacdoctor.pickles import Made, Name, PickledArray, WithArrays

UNBOUNDED = 1e30
"""From here on a limit is none: some environments write float32's largest number for infinity."""

_LINEAR = {
    "stable_baselines3.common.utils.LinearSchedule": ("start", "end"),
    "rl_zoo3.utils.SimpleLinearSchedule": ("initial_value",),
}
"""Schedules that stay between the numbers that these attributes hold, or between that and 0."""


class Box(Struct, frozen=True):
    """The limits of actions or observations, one per dimension, in the environment's own units."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def half_ranges(self) -> NDArray[np.float64]:
        """Half of the distance between the limits; infinite where one of them is none."""
        is_bounded = (np.abs(self.low) < UNBOUNDED) & (np.abs(self.high) < UNBOUNDED)
        return np.where(is_bounded, (self.high - self.low) / 2.0, np.inf)


def action_box(checkpoint: Checkpoint) -> Box | None:
    """Return the limits of the actions, None where they are not those of a `Box`.

    A bare `Box` is read, of gym and of gymnasium; a user's subclass is what it says in the file.
    """
    value = checkpoint.hyperparameters.get("action_space")
    if not isinstance(value, Pickled) or not value.type.endswith(".box.Box'>"):
        return None
    return _box(_state(value))


def observation_boxes(checkpoint: Checkpoint) -> dict[str, Box]:
    """Return the limits of the observations: of a dict by its keys, else under the empty text.

    Entries that are no bare `Box` are left out.
    """
    value = checkpoint.hyperparameters.get("observation_space")
    if not isinstance(value, Pickled):
        return {}
    state = _state(value)
    inner = _pairs(state.get("spaces")) if value.type.endswith(".dict.Dict'>") else {}
    if value.type.endswith(".box.Box'>"):
        boxes = {"": _box(state)}
    else:
        boxes = {str(key): _box(_state_of(space)) for key, space in inner.items()}
    return {key: box for key, box in boxes.items() if box is not None}


def _pairs(thing: Any) -> Mapping[Any, Any]:
    """Return what a dict, or an `OrderedDict` of older versions, holds."""
    return (
        dict(thing.pairs) if isinstance(thing, Made) else thing if isinstance(thing, dict) else {}
    )


def _box(state: Mapping[str, Any]) -> Box | None:
    low, high = _numbers(state.get("low")), _numbers(state.get("high"))
    if low is None or high is None or low.shape != high.shape or not low.size:
        return None
    if np.isnan(low).any() or np.isnan(high).any():
        return None
    return Box(low, high)


def first_deviation(checkpoint: Checkpoint) -> float:
    """Return the standard deviation that a Gaussian policy starts with: exp(`log_std_init`)."""
    chosen = policy_arguments(checkpoint).get("log_std_init", 0.0)
    if isinstance(chosen, bool) or not isinstance(chosen, (int, float)):
        return 1.0
    return float(np.exp(min(float(chosen), 700.0)))


def squashes(checkpoint: Checkpoint) -> bool:
    """Return whether an on-policy policy sends its actions through tanh, as gSDE's can.

    Then SB3 scales them to the limits of the `Box`, as it does for all off-policy algorithms.
    """
    return policy_arguments(checkpoint).get("squash_output") is True


def noise_deviation(checkpoint: Checkpoint) -> float | None:
    """Return the largest standard deviation of the `action_noise`, None where there is none.

    SB3 adds it to actions scaled to [-1, 1].
    """
    value = checkpoint.hyperparameters.get("action_noise")
    if not isinstance(value, Pickled):
        return None
    sigma = _numbers(_state(value).get("_sigma"))
    return float(np.max(np.abs(sigma))) if sigma is not None and sigma.size else None


def constant(checkpoint: Checkpoint, key: str) -> float | None:
    """Return a number that may be pickled as a schedule, None where it is another schedule.

    SB3 makes a schedule of `clip_range` when the model is made: since 2.7 by classes, before by
    functions.
    """
    value = checkpoint.hyperparameters.get(key)
    if not isinstance(value, Pickled):
        return checkpoint.hyperparameters.number(key)
    if "function" in value.type:
        try:
            return constant_of(value.pickle(), value.budget)
        except CheckpointError:
            return None
    state = _state(value)
    inner = state.get("value_schedule")
    if isinstance(inner, Made):
        state = _state_of(inner)
    number = state.get("val")
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    return float(number) if np.isfinite(number) else None


def largest_rate(checkpoint: Checkpoint) -> float | None:
    """Return the largest size of the rates that `lr_schedule` gives, None where that is unknown.

    Known are constants and the linear schedules of SB3 and rl-zoo. Beyond their end, where the last
    rollout may lie, the optimizer's own rate has to be looked at, too.
    """
    number = constant(checkpoint, "lr_schedule")
    if number is not None:
        return abs(number)
    value = checkpoint.hyperparameters.get("lr_schedule")
    if not isinstance(value, Pickled):
        return None
    inner = _state(value).get("value_schedule")
    names = _LINEAR.get(str(inner.function), ()) if isinstance(inner, Made) else ()
    ends = [_state_of(inner).get(name) for name in names]
    if not ends or not all(isinstance(end, (int, float)) for end in ends):
        return None
    return max(abs(float(end)) for end in ends if isinstance(end, (int, float)))


def optimizer_class(checkpoint: Checkpoint) -> str | None:
    """Return the class of the optimizer that `policy_kwargs` name, None where they name none."""
    chosen = policy_arguments(checkpoint).get("optimizer_class")
    return chosen.qualname if isinstance(chosen, Name) else None


def _state(value: Pickled) -> dict[str, Any]:
    try:
        return _state_of(value.read(WithArrays()))
    except CheckpointError:
        return {}


def _state_of(thing: Any) -> dict[str, Any]:
    state = thing.states[-1] if isinstance(thing, Made) and thing.states else None
    return state if isinstance(state, dict) else {}


def _numbers(value: Any) -> NDArray[np.float64] | None:
    if not isinstance(value, PickledArray):
        return None
    try:
        return value.view().astype(np.float64).reshape(-1)
    except CheckpointError:
        return None
