"""Counting and re-drawing dead elements of tensors in memory: what scan and fix do to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch as th
from msgspec import Struct

from sacdoctor.checkpoint import DTYPES
from sacdoctor.layers import NORM_WEIGHTS, Kind, Role
from sacdoctor.optimizers import STEP
from sacdoctor.repair import encoded, initial_values
from sacdoctor.training.live import LiveModel


class Counts(Struct, frozen=True):
    """What one look at a policy's tensors finds.

    `zeros`: elements that are exactly zero (−0.0 counts, NaN does not), by bias. `fresh_norms`:
    the biases that are all 0 beside a normalisation's weight that is all 1. `non_finite`: the
    tensors that hold a NaN or an infinity.
    """

    zeros: Mapping[str, int]
    fresh_norms: frozenset[str]
    non_finite: tuple[str, ...]


def count(
    tensors: Mapping[str, th.Tensor], biases: Sequence[str], roles: Mapping[str, Role]
) -> Counts:
    """Return the counts of the named biases, and which of all `tensors` are not finite.

    Everything is worked out where the tensors are, then fetched at once: one synchronisation per
    device, however many tensors there are.
    """
    weights = {name: weight for name in biases if (weight := _norm_weight(roles[name], tensors))}
    full = [name for name, tensor in tensors.items() if tensor.numel()]
    with th.no_grad():
        readings = [
            *((tensors[name] == 0).sum() for name in biases),
            *((tensors[weight] == 1).all() for weight in weights.values()),
            # The greatest magnitude overflows where no element does; a sum of squares could.
            *(th.linalg.vector_norm(tensors[name], float("inf")).isfinite() for name in full),
        ]
        values = _fetch(readings)
    zeros = dict(zip(biases, values, strict=False))
    at_one = dict(zip(weights, values[len(biases) :], strict=False))
    finite = values[len(biases) + len(weights) :]
    return Counts(
        zeros,
        frozenset(n for n, ones in at_one.items() if ones and zeros[n] == tensors[n].numel()),
        tuple(name for name, fine in zip(full, finite, strict=True) if not fine),
    )


def zero_percent_by_component(live: LiveModel) -> dict[str, float]:
    """Return which share of the elements of each component's biases is exactly zero, in percent."""
    biases = live.biases
    with th.no_grad():
        zeros = _fetch([(bias == 0).sum() for bias in biases.values()])
    found: dict[str, list[int]] = {}
    for (name, bias), own in zip(biases.items(), zeros, strict=True):
        counts = found.setdefault(live.roles[name].component, [0, 0])
        counts[0] += own
        counts[1] += bias.numel()
    return {component: 100.0 * own / of for component, (own, of) in found.items()}


def can_be_drawn(tensor: th.Tensor) -> bool:
    """Return whether biases of this type are re-drawn."""
    return _type_name(tensor) in ("float64", "float32", "float16", "bfloat16")


def drawn(role: Role, tensor: th.Tensor, seed: int) -> th.Tensor:
    """Return new values for all elements: those that `sacdoctor fix --seed` writes, bit for bit."""
    dtype = DTYPES[_type_name(tensor)]
    raw = encoded(initial_values(role, tensor.numel(), seed), dtype)
    if dtype.zero_mask:
        values = th.from_numpy(raw.astype("<u2").view(np.int16)).view(tensor.dtype)
    else:
        values = th.from_numpy(raw)
    return values.reshape(tensor.shape).to(tensor.device)


def revive(tensor: th.Tensor, source: th.Tensor, dead: th.Tensor) -> th.Tensor:
    """Set the elements that are `dead` and zero to those of `source`, and return which were.

    An element of `source` that is zero itself or not finite is not taken over. All other elements
    of `tensor` keep their bits; `dead` and the mask that is returned have its shape.
    """
    with th.no_grad():
        mask = dead & (tensor == 0) & (source != 0) & source.isfinite()
        tensor.copy_(th.where(mask, source, tensor))
    return mask


def clear_moments(
    optimizer: th.optim.Optimizer, parameter: th.Tensor, mask: th.Tensor, whole: bool
) -> bool:
    """Set to zero what the optimizer keeps for the elements in `mask`; return whether it did.

    That is every tensor of the parameter's own shape: `exp_avg`, `exp_avg_sq`, `max_exp_avg_sq`,
    `square_avg`, `momentum_buffer`. Where the `whole` parameter was repaired, its `step` goes to 0
    too, unless it is a plain number, as in SB3's `RMSpropTFLike`.
    """
    state = optimizer.state.get(parameter)
    if not state:
        return False
    for key, value in state.items():
        if not isinstance(value, th.Tensor):
            continue
        if key == STEP:
            if whole:
                value.zero_()
        elif value.shape == parameter.shape:
            value.masked_fill_(mask.to(value.device), 0)
    return True


def _norm_weight(role: Role, tensors: Mapping[str, th.Tensor]) -> str | None:
    if role.kind is not Kind.NORM:
        return None
    prefix = f"{role.layer}." if role.layer else ""
    return next((prefix + part for part in NORM_WEIGHTS if prefix + part in tensors), None)


def _fetch(readings: Sequence[th.Tensor]) -> list[int]:
    """Return whole numbers that are spread over devices, with one transfer per device."""
    places: dict[th.device, list[int]] = {}
    for place, reading in enumerate(readings):
        places.setdefault(reading.device, []).append(place)
    values = [0] * len(readings)
    for own in places.values():
        fetched = th.stack([readings[place].to(th.int64) for place in own]).tolist()
        for place, value in zip(own, fetched, strict=True):
            values[place] = value
    return values


def _type_name(tensor: th.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
