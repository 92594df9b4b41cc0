"""How large what reaches the network is: the last observation, and what second moments remember."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import input_sizes
from sacdoctor.diagnosis.statistics import as_floats, has_floats
from sacdoctor.layers import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 100.0
"""From here on an input saturates a layer of Tanh by itself. Its gradient is exactly 0 in float32
from 9 on; a first layer of 64 units as SB3 draws it multiplies by about 0.18. Of public
checkpoints, broken agents had seen observations of 172 and more, the others of at most 40."""
NO_GRADIENT = 9.02
"""1 − tanh(z)² is exactly 0 in float32 from here on."""
_ORTHOGONAL_GAIN = sqrt(2.0)
"""With which SB3 draws all layers but the outputs (stable_baselines3/common/policies.py)."""


class Inputs(Struct, frozen=True):
    """The inputs of a layer: the largest absolute value, and the root of the mean square."""

    largest: float
    rms: float
    source: str

    @classmethod
    def of(cls, sizes: NDArray[Any], source: str) -> Inputs:
        """Return what a vector of inputs, shape (inputs,), is like; what is not finite is 0."""
        finite = np.where(np.isfinite(sizes), np.abs(sizes), 0.0).astype(np.float64)
        return cls(float(finite.max()), float(np.sqrt(np.mean(finite**2))), source)


def inputs(facts: Facts) -> Iterator[Inputs]:
    """Yield the inputs that the file knows of: its last observations', then first layers'.

    What a normalisation layer takes the size off, before or behind the first layer, is none.
    """
    for rows in facts.last_observations:
        flat = rows.reshape(len(rows), -1)
        if flat.size and not _is_normalised(facts, flat.shape[1]):
            yield max((Inputs.of(row, "its last observation") for row in flat), key=_by_size)
    for name in first_layers(facts):
        sizes = input_sizes(facts, name)
        if sizes is not None:
            yield Inputs.of(sizes, f"by the second moments of {name.rpartition('.')[0]}")


def largest(facts: Facts) -> Inputs | None:
    """Return those with the largest input, None where the file knows of none."""
    return max(inputs(facts), key=_by_size, default=None)


def _by_size(found: Inputs) -> float:
    return found.largest


def not_finite(facts: Facts) -> int:
    """Return how many values of the last observation are NaN or infinite."""
    return sum(int(np.sum(~np.isfinite(rows))) for rows in facts.last_observations)


def first_layers(facts: Facts) -> Iterator[str]:
    """Yield the bias of the first layer of each sequence of layers: `….0.bias`.

    None that a normalisation follows: it takes the mean out, so that the bias has no gradient but
    what rounding leaves, beside which every input looks large.
    """
    for name in facts.parameters:
        if name.endswith(".0.bias") and name.removesuffix(".bias") not in facts.before_norm:
            yield name


def _is_normalised(facts: Facts, width: int) -> bool:
    """Return whether a normalisation layer stands before or behind the layer of the inputs."""
    roles = facts.anatomy.roles
    for name, tensor in facts.tensors.items():
        if roles[name].kind is Kind.NORM and tensor.shape == (width,):
            return True
        if tensor.shape[1:] == (width,) and roles[name].layer in facts.before_norm:
            return True
    return False


class Saturation(Struct, frozen=True):
    """The share of a first layer's Tanh units that the last observation holds at ±1.

    `when_drawn` is how large their arguments are on average in a layer as SB3 draws it, in root
    mean squares: what is large only because the layer's own weights are is no matter of inputs.
    """

    layer: str
    share: float
    when_drawn: float


def saturations(facts: Facts) -> Iterator[Saturation]:
    """Yield how the last observation saturates each Tanh layer that it reaches as it is.

    Nothing where something stands before that layer, or the observation is a dict.
    """
    seen = facts.last_observations
    if len(seen) != 1 or any("features_extractor" in name for name in facts.tensors):
        return
    rows = seen[0].reshape(len(seen[0]), -1).astype(np.float64)
    for name in first_layers(facts):
        layer = name.removesuffix(".bias")
        weight, bias = facts.tensors.get(f"{layer}.weight"), facts.tensors[name]
        if facts.activation(name) != "Tanh" or weight is None or not has_floats(weight):
            continue
        if weight.shape == (bias.numel, rows.shape[1]):
            matrix = as_floats(weight, weight.values)
            arguments = rows @ matrix.T.astype(np.float64) + as_floats(bias, bias.values)
            size = float(np.sqrt(np.max(np.sum(rows**2, axis=1)) / bias.numel))
            share = float(np.mean(np.abs(arguments) >= NO_GRADIENT))
            yield Saturation(layer, share, _ORTHOGONAL_GAIN * size)
