"""What the pickles of a checkpoint describe, as live values of a few exact classes.

Tables say which, and how each is made by its own constructor from what stands in the file. Nothing
is looked up that they do not name.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common import noise, utils
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.her.goal_selection_strategy import GoalSelectionStrategy

from sacdoctor.errors import Unloadable
from sacdoctor.pickles import Made, Name, PickledArray, PickledDType, attributes, class_of

_PLAIN = (str, bytes, bool, int, float, type(None))


def _no_class(name: Name) -> Any:
    raise Unloadable(f"{name} stands where a value is needed")


def live(thing: Any, class_called: Callable[[Name], Any] = _no_class) -> Any:
    """Return what the machine read, as a live value; of a class that it refers to, `class_called`.

    Raises `Unloadable` for what the tables do not know, and `CheckpointError` for an array that
    contradicts itself.
    """
    try:
        return _Values(class_called).live(thing)
    except RecursionError:
        raise Unloadable("it nests deeper than any setting does") from None


class _Values:
    """Makes each thing once, however often it is referred to."""

    def __init__(self, class_called: Callable[[Name], Any]) -> None:
        self._class_called = class_called
        self._made: dict[int, Any] = {}

    def live(self, thing: Any) -> Any:
        if isinstance(thing, _PLAIN):
            return thing
        if id(thing) not in self._made:
            self._made[id(thing)] = self._of(thing)
        return self._made[id(thing)]

    def _of(self, thing: Any) -> Any:
        if isinstance(thing, dict):
            return {self.live(key): self.live(value) for key, value in thing.items()}
        if isinstance(thing, (list, tuple)):
            return type(thing)(map(self.live, thing))
        if isinstance(thing, PickledArray):
            return self._array(thing)
        if isinstance(thing, PickledDType):
            return thing.numpy()
        if isinstance(thing, Name):
            return self._class_called(thing)
        if isinstance(thing, Made):
            return self._object(thing)
        raise Unloadable(f"{thing} stands where a value is needed")

    def _array(self, array: PickledArray) -> NDArray[Any]:
        if array.objects is None:
            return array.read().copy()
        elements = np.empty(len(array.objects), dtype=object)
        elements[:] = [self.live(item) for item in array.objects]
        return elements.reshape(array.shape)

    def _object(self, made: Made) -> Any:
        name = class_of(made) or "a class that nothing names"
        try:
            if name in _FROM_ATTRIBUTES:
                names, make = _FROM_ATTRIBUTES[name]
                found = attributes(made)
                return make(*(self.live(found.get(attribute)) for attribute in names))
            if name in _FROM_ARGUMENTS:
                return _FROM_ARGUMENTS[name](*map(self.live, made.args))
            if name == "collections.deque":
                return deque(map(self.live, made.items), *map(self.live, made.args[1:]))
            if name == "collections.OrderedDict" and not made.args:
                return OrderedDict((self.live(key), self.live(value)) for key, value in made.pairs)
        except (AssertionError, AttributeError, TypeError, ValueError, KeyError) as error:
            raise Unloadable(f"{name} cannot be made from what the file holds ({error})") from None
        raise Unloadable(f"an object of {name} is not made here")


# -- spaces: gym's and gymnasium's keep the same attributes; generators are made anew ----------


def _box(low: Any, high: Any, dtype: Any) -> spaces.Box:
    kind = np.dtype(low.dtype if dtype is None else dtype)
    return spaces.Box(low.astype(kind), high.astype(kind), dtype=kind.type)


def _discrete(n: Any, start: Any) -> spaces.Discrete:
    return spaces.Discrete(int(n), start=int(start or 0))


def _dict(inner: Any) -> spaces.Dict:
    if not all(isinstance(space, spaces.Space) for space in inner.values()):
        raise TypeError("it holds something that is no space")
    return spaces.Dict(OrderedDict(inner))  # a plain one would be sorted


_SPACES: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "box.Box": (("low", "high", "dtype"), _box),
    "discrete.Discrete": (("n", "start"), _discrete),
    "multi_discrete.MultiDiscrete": (
        ("nvec", "start"),
        lambda nvec, start: spaces.MultiDiscrete(nvec, start=start),
    ),
    "multi_binary.MultiBinary": (("n",), spaces.MultiBinary),
    "dict.Dict": (("spaces",), _dict),
}


# -- what SB3's settings are made of -----------------------------------------------------------


def _ou_noise(
    mean: Any, sigma: Any, theta: Any, dt: Any, initial: Any, before: Any
) -> noise.OrnsteinUhlenbeckActionNoise:
    made = noise.OrnsteinUhlenbeckActionNoise(mean, sigma, theta, dt, initial)
    if before is not None:
        made.noise_prev = before
    return made


_COMMON = "stable_baselines3.common"
_FROM_ATTRIBUTES: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    **{
        f"{package}.spaces.{name}": row
        for package in ("gym", "gymnasium")
        for name, row in _SPACES.items()
    },
    f"{_COMMON}.noise.NormalActionNoise": (("_mu", "_sigma"), noise.NormalActionNoise),
    f"{_COMMON}.noise.OrnsteinUhlenbeckActionNoise": (
        ("_mu", "_sigma", "_theta", "_dt", "initial_noise", "noise_prev"),
        _ou_noise,
    ),
    f"{_COMMON}.noise.VectorizedActionNoise": (
        ("_base_noise", "n_envs"),
        noise.VectorizedActionNoise,
    ),
    f"{_COMMON}.utils.FloatSchedule": (
        ("value_schedule",),
        lambda inner: utils.FloatSchedule(inner),
    ),
    f"{_COMMON}.utils.ConstantSchedule": (
        ("val",),
        lambda value: utils.ConstantSchedule(float(value)),
    ),
    f"{_COMMON}.utils.LinearSchedule": (
        ("start", "end", "end_fraction"),
        lambda *ends: utils.LinearSchedule(*map(float, ends)),
    ),
}
"""The attributes in an object's state that its constructor takes, and that; None for one that is
not there. SB3 before 2.7 has no classes for schedules: there they cannot be made."""
_FROM_ARGUMENTS: dict[str, Callable[..., Any]] = {
    f"{_COMMON}.type_aliases.TrainFreq": TrainFreq,
    f"{_COMMON}.type_aliases.TrainFrequencyUnit": TrainFrequencyUnit,
    "stable_baselines3.her.goal_selection_strategy.GoalSelectionStrategy": GoalSelectionStrategy,
}
