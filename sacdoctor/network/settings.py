"""The settings in `data`, as SB3 is to get them: live values, or what stands in their place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gymnasium import spaces
from msgspec import Struct, field
from stable_baselines3.common import utils
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer, RolloutBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.optim import Optimizer

from sacdoctor.checkpoint import Checkpoint, Pickled, constant_of
from sacdoctor.errors import CheckpointError, Unloadable
from sacdoctor.network.classes import Classes, name_of
from sacdoctor.network.values import live
from sacdoctor.pickles import WithArrays

_SPACES = ("observation_space", "action_space")
_NEEDED = frozenset((*_SPACES, "policy_kwargs"))
"""Without these there is no model, or another one."""
_CLASSES: Mapping[str, type] = {
    "policy_class": BasePolicy,
    "replay_buffer_class": ReplayBuffer,
    "rollout_buffer_class": RolloutBuffer,
}
"""Settings that are classes, and of what kind."""
_POLICY_CLASSES: Mapping[str, type] = {
    "activation_fn": nn.Module,
    "features_extractor_class": BaseFeaturesExtractor,
    "optimizer_class": Optimizer,
}
"""The same among the policy's arguments."""
_MADE_ANEW = frozenset(
    (
        *("lr_schedule", "exploration_schedule", "batch_norm_stats", "batch_norm_stats_target"),
        *("weights", "device", "env", "policy", "_last_lstm_states"),
    )
)
"""What SB3 makes itself when it puts a model together, and what it never saves."""
_HER = "HerReplayBuffer"
_LEAST = 4096
"""Sizes that need no proof by the weights: a layer of so many units is quickly made."""


class LiveSettings(Struct):
    """`values` by key; `left_out` says what another value stands for, or none, by key."""

    values: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def policy_class(checkpoint: Checkpoint, classes: Classes) -> type[BasePolicy]:
    """Return the class of the policy; raises `Unloadable` where it may not, or cannot, be found."""
    saved = checkpoint.hyperparameters.get("policy_class")
    if not isinstance(saved, Pickled):
        raise Unloadable("its settings do not say which class its policy has")
    try:
        found: type[BasePolicy] = classes.find(name_of(saved.read(WithArrays())), BasePolicy)
    except CheckpointError as error:
        raise error.within("policy_class") from None
    return found


def live_settings(
    checkpoint: Checkpoint, classes: Classes, known: Collection[str], has_env: bool
) -> LiveSettings:
    """Return the settings that a model of this kind has (`known`: its attributes), as live values.

    Raises `Unloadable` for those that the model cannot be without.
    """
    settings = LiveSettings()
    for key, saved in checkpoint.hyperparameters.items():
        if key in _MADE_ANEW or key not in known:
            continue
        try:
            settings.values[key] = _value(key, saved, classes)
        except CheckpointError as error:
            if key in _NEEDED or key in _CLASSES:
                raise error.within(key) from None
            _replace(settings, checkpoint, key, error.reason)
    for key in _SPACES:
        if key not in settings.values:
            raise Unloadable(f"its settings hold no {key}")
    _refuse_sizes(settings.values, checkpoint)
    if not has_env:
        _without_relabelling(settings)
    return settings


def _value(key: str, saved: Any, classes: Classes) -> Any:
    read = saved.read(WithArrays()) if isinstance(saved, Pickled) else saved
    if key in _CLASSES:
        return None if read is None else classes.find(name_of(read), _CLASSES[key])
    if key == "policy_kwargs":
        return dict(_policy_arguments(read, classes))
    if isinstance(saved, Pickled) and "function" in saved.type:
        constant = constant_of(saved.pickle(), saved.budget)
        if constant is None:
            raise Unloadable("it is code")
        return _schedule(constant) if key.endswith("_schedule") else constant
    return live(read)


def _schedule(constant: float) -> Any:
    """Return a constant as what SB3 calls; before 2.7 it had no class for that."""
    of_class = getattr(utils, "FloatSchedule", None)
    return of_class(constant) if of_class is not None else utils.get_schedule_fn(constant)


def _policy_arguments(read: Any, classes: Classes) -> Iterator[tuple[str, Any]]:
    if not isinstance(read, dict):
        raise Unloadable("it is no dict")
    for key, value in read.items():
        if key == "device":
            continue  # SB3 drops it as well
        kind = _POLICY_CLASSES.get(key)
        if kind is not None and value is not None:
            yield key, classes.find(name_of(value), kind)
        else:
            yield key, live(value, lambda name: classes.find(name, nn.Module))


def _replace(settings: LiveSettings, checkpoint: Checkpoint, key: str, reason: str) -> None:
    """Note that a setting could not be made, and what stands in its place."""
    if key == "learning_rate":
        rate = next((s.learning_rate for s in checkpoint.optimizers.values()), None)
        if rate is not None and rate > 0.0:
            settings.values[key] = rate
            settings.left_out[key] = f"{reason}; its last value, {rate:g}, stands in its place"
            return
    settings.left_out[key] = f"{reason}; SB3's default stands in its place"


def _without_relabelling(settings: LiveSettings) -> None:
    """SB3 makes a `HerReplayBuffer` only with an environment, which computes the rewards."""
    chosen = settings.values.get("replay_buffer_class")
    if chosen is not None and chosen.__name__ == _HER:
        settings.values |= {"replay_buffer_class": DictReplayBuffer, "replay_buffer_kwargs": {}}
        settings.left_out["replay_buffer_class"] = (
            f"{_HER} needs an environment: load(…, env=…); a DictReplayBuffer stands in its place"
        )


def _refuse_sizes(values: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Raise `Unloadable` where settings ask for layers that the weights are not.

    A few bytes can ask for a network of a terabyte, and SB3 would make it before it compares.
    """
    tensors = checkpoint.tensors
    largest = max((n for tensor in tensors.values() for n in tensor.shape), default=0)
    most = max(_LEAST, largest, len(tensors))
    sizes = [*_numbers(values.get("policy_kwargs"))]
    for key in _SPACES:
        sizes += _sizes(values[key])
    asked = max(sizes, default=0)
    if asked > most:
        raise Unloadable(f"its settings ask for a size of {asked:,}, and its weights have none")


def _numbers(value: Any) -> Iterator[int]:
    """Yield the whole numbers in the policy's arguments; each can only stand there once."""
    waiting, seen = [value], set[int]()
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, int) and not isinstance(thing, bool):
            yield thing
        elif isinstance(thing, (dict, list, tuple)) and id(thing) not in seen:
            seen.add(id(thing))
            yield len(thing)
            waiting += thing.values() if isinstance(thing, dict) else thing


def _sizes(space: spaces.Space[Any]) -> Iterator[int]:
    """Yield how many inputs or outputs a space without a shape of its own needs."""
    if isinstance(space, spaces.Dict):
        for inner in space.values():
            yield from _sizes(inner)
    elif isinstance(space, spaces.Discrete):
        yield int(space.n)
    elif isinstance(space, spaces.MultiDiscrete):
        yield int(space.nvec.sum())
