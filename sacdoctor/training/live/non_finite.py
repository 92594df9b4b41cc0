"""The first thing in a training that is NaN or infinite: what all that follows comes from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sacdoctor.errors import SacdoctorError
from sacdoctor.training.live.model import LiveModel

Array = npt.NDArray[Any]


class NonFinite(SacdoctorError):
    """Something in a training is NaN or infinite, and training was asked not to go on then."""


class NonFiniteWatch:
    """Keeps the first reward or observation that is not finite, and counts those after it.

    `first` says what it was, in words; None while everything is finite.
    """

    def __init__(self) -> None:
        self.first: str | None = None
        self.count = 0

    def look(self, steps: Mapping[str, Any], timesteps: int) -> str | None:
        """Look at what the environments returned; return what is not finite, where it is the first.

        `steps` are the local variables of SB3's `collect_rollouts`: `rewards` of shape
        (environments,), `new_obs`, `dones` and `infos`.
        """
        rewards = steps.get("rewards")
        if rewards is None:
            return None  # ARS steps its environments elsewhere
        observations = steps["new_obs"]
        if (
            _is_finite(rewards)
            and all(map(_is_finite, _arrays(observations)))
            and not (steps["dones"].any() and _ends_badly(steps))
        ):
            return None
        self.count += 1
        if self.first is not None:
            return None
        self.first = f"{next(_found(steps), 'an observation')}, at {timesteps:,} steps"
        return self.first

    def cause(self, live: LiveModel, optimizer: str) -> str:
        """Return the first thing that was not finite, once a gradient in an optimizer is not."""
        if self.first is not None:
            return self.first
        for name, parameter in live.parameters.items():
            if not bool(parameter.detach().isfinite().all()):
                return f"the parameter {name}"
        return f"the loss of {optimizer}, while rewards, observations and parameters are finite"


def _is_finite(values: Array) -> bool:
    """Return whether all numbers are finite, by one product where that does not overflow."""
    if values.dtype.kind != "f":
        return True
    flat = values.reshape(-1)
    return math.isfinite(np.vdot(flat, flat)) or bool(np.isfinite(flat).all())


def _arrays(observations: Any) -> Iterable[Array]:
    return observations.values() if isinstance(observations, dict) else (observations,)


def _last(steps: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """Yield the last observation of each episode that just ended, with its environment."""
    for environment, info in enumerate(steps["infos"]):
        if steps["dones"][environment] and "terminal_observation" in info:
            yield environment, info["terminal_observation"]


def _ends_badly(steps: Mapping[str, Any]) -> bool:
    return not all(
        _is_finite(np.asarray(array)) for _, last in _last(steps) for array in _arrays(last)
    )


def _found(steps: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not finite: a reward before an observation, the first environment first."""
    rewards = np.asarray(steps["rewards"]).reshape(-1)
    for number in np.flatnonzero(~np.isfinite(rewards)):
        yield f"the reward of environment {number} is {rewards[number]}"
    seen = steps["new_obs"]
    keyed = seen.items() if isinstance(seen, dict) else (("", seen),)
    for key, values in keyed:
        if values.dtype.kind == "f":
            yield from _features(key, np.asarray(values), "observation")
    for environment, last in _last(steps):
        for key, values in last.items() if isinstance(last, dict) else (("", last),):
            values = np.asarray(values)
            if values.dtype.kind == "f":
                yield from _features(key, values[None], "last observation", environment)


def _features(key: str, values: Array, what: str, only: int | None = None) -> Iterator[str]:
    for place in np.argwhere(~np.isfinite(values)):
        environment = place[0] if only is None else only
        feature = ", ".join(str(index) for index in place[1:])
        of = f" of {key!r}" if key else ""
        yield (
            f"the {what}{of} of environment {environment} is {values[tuple(place)]} in feature "
            f"{feature}"
        )
