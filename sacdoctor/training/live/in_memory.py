"""A model in memory, read as a scan reads a file: the same facts for the same rules."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from torch import nn

from sacdoctor.archive import Pieces
from sacdoctor.checkpoint import (
    DTYPES,
    Checkpoint,
    Edits,
    Hyperparameters,
    Limits,
    OptimizerState,
    ParameterGroup,
    Storage,
    Tensor,
)
from sacdoctor.checkpoint.formats import Container, Contents
from sacdoctor.diagnosis import Coverage, Facts, Slot
from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.training.live.model import LiveModel, parameters_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_PICKLED = ("policy_class", "policy_kwargs", "action_space")
"""Settings that no JSON holds, and that rules about a live model read."""


class LiveFacts(Facts, frozen=True):
    """Facts of a model in memory, where which optimizer entry is whose needs no search."""

    checkpoint: InMemory

    @cached_property
    def coverage(self) -> Coverage:
        live = self.checkpoint.live
        numbers = {
            label: {id(p): number for number, p in enumerate(parameters_of(optimizer))}
            for label, optimizer in live.optimizers.items()
        }
        slots = {
            name: tuple(
                Slot(label, numbers[label][id(parameter)])
                for label in live.owners.get(id(parameter), ())
            )
            for name, parameter in live.parameters.items()
        }
        return Coverage(
            {name: found for name, found in slots.items() if found}, frozenset(live.missing())
        )


class InMemory(Checkpoint):
    """A live model as an open checkpoint: views of its tensors where they are on the CPU.

    `settings` are as in an SB3 zip; without any, rules know the tensors and moments alone.
    """

    def __init__(self, live: LiveModel, settings: Mapping[str, Any]) -> None:
        self.live = live
        self.path = Path(live.called)
        self.container = Container("a model in memory", (), lambda _: False, _refused)
        self._opened = memoryview(b""), _Contents(live, settings), Limits.of(0)

    @cached_property
    def algorithm(self) -> str | None:
        return None if self.live.algorithm is None else self.live.algorithm.name


class Settings:
    """An SB3 model's settings as they stand in `data` of its zip, what no rule reads aside.

    A call returns those of now; what has to be pickled is taken once, and left out where it cannot.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self._model = model
        pickled = {key: _pickled(getattr(model, key, None)) for key in _PICKLED}
        self._pickled = {
            key: {":type:": "", ":serialized:": encoded}
            for key, encoded in pickled.items()
            if encoded is not None
        }

    def __call__(self) -> dict[str, Any]:
        plain = {
            key: value
            for key, value in vars(self._model).items()
            if isinstance(value, (bool, int, float, str, type(None)))
        }
        return {**plain, **self._pickled}


def _pickled(value: Any) -> str | None:
    import cloudpickle  # comes with SB3

    try:
        return base64.b64encode(cloudpickle.dumps(value)).decode()
    except Exception:  # whatever classes of the user's raise
        return None


class _Contents(Contents):
    def __init__(self, live: LiveModel, settings: Mapping[str, Any]) -> None:
        self._live = live
        self._settings = settings

    def tensors(self) -> Mapping[str, Tensor]:
        return {
            name: tensor
            for name, parameter in self._live.names.items()
            if (tensor := _tensor(parameter)) is not None
        }

    def variables(self) -> Mapping[str, Tensor]:
        found = ((name, _tensor(value)) for name, value in self._live.variables.items())
        return {name: tensor for name, tensor in found if tensor is not None}

    def optimizers(self) -> Mapping[str, OptimizerState]:
        return {label: _state(optimizer) for label, optimizer in self._live.optimizers.items()}

    def settings(self) -> Hyperparameters:
        pace = self._live.pace()
        if not self._settings:
            return Hyperparameters({})
        now = {"_n_updates": pace.n_updates, "num_timesteps": pace.num_timesteps}
        return Hyperparameters({**self._settings, **now})

    def edited(self, edits: Edits) -> Pieces:
        raise _not_a_file()


def _state(optimizer: th.optim.Optimizer) -> OptimizerState:
    numbers = {id(p): number for number, p in enumerate(parameters_of(optimizer))}
    groups = tuple(
        ParameterGroup(
            {key: value for key, value in group.items() if key != "params"},
            tuple(numbers[id(parameter)] for parameter in group["params"]),
        )
        for group in optimizer.param_groups
    )
    moments = {
        numbers[id(parameter)]: dict(_kept(state))
        for parameter, state in optimizer.state.items()
        if id(parameter) in numbers and state
    }
    return OptimizerState(groups, moments)


def _kept(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        if not isinstance(value, th.Tensor):
            yield key, value
        elif value.numel() == 1 and not value.dim():
            yield key, value.item()
        elif (tensor := _tensor(value)) is not None:
            yield key, tensor


def _tensor(tensor: th.Tensor | nn.Parameter) -> Tensor | None:
    """Return a record over a dense tensor's own memory, None for a type that no file has."""
    dtype = DTYPES.get(str(tensor.dtype).removeprefix("torch."))
    if dtype is None or tensor.layout is not th.strided:
        return None
    values = tensor.detach().cpu().contiguous()
    key = str(tensor.data_ptr())
    if dtype.zero_mask:
        values = values.view(th.uint8 if dtype.itemsize == 1 else th.int16)
    data = values.numpy().reshape(-1).view(np.uint8).data
    shape = tuple(tensor.shape)
    return Tensor(
        Storage(key, dtype, tensor.numel(), data), 0, shape, tuple(values.stride()), dtype
    )


def _refused(buffer: memoryview, limits: Limits) -> Contents:
    raise _not_a_file()


def _not_a_file() -> UnsupportedCheckpoint:
    return UnsupportedCheckpoint("a model in memory is no file")
