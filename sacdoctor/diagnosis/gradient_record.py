"""What second moments remember of gradients: units that never had one, and the size of inputs.

The gradient of `weight[i, j]` is δᵢ·xⱼ, that of `bias[i]` is δᵢ (summed over a batch, and for a
filter over its places): a unit without a gradient leaves a whole row of zeros behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from msgspec import Struct

from sacdoctor.checkpoint import OptimizerState, Tensor
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.policy_settings import SWITCHING
from sacdoctor.diagnosis.statistics import as_floats, as_numbers, pieces, zero_positions
from sacdoctor.layers import Kind
from sacdoctor.optimizers import SECOND_MOMENTS, decay_of, starting_at_one

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WITH_UNITS = (Kind.LINEAR, Kind.CONV)
_WEIGHTS = ("weight", "weight_orig", "parametrizations.weight.original")
"""The plain one; those that spectral norm divides, which has the gradient of both."""
_SPREAD = 4.0
"""Standard deviations: of 16,000 layers one is further off."""
LEAST = 1e-30
"""Below it a second moment is near the end of float32, and a quotient of two means nothing."""
NETWORKS = ("actor", "critic", "Q-network", "quantile network")
LEAST_UPDATES = 10
"""Before that a network may not have had its turn: TD3's actor waits for its critic."""


class _Moments(Struct, frozen=True):
    """The second moments of a layer's weight and bias in one optimizer, under `key`."""

    weight: Tensor
    bias: Tensor
    key: str
    entry: int
    state: OptimizerState

    def is_silent(self, moment: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which elements of either show no gradient."""
        started = is_decayed_start(moment, self.key, self.entry, self.state)
        return np.asarray((moment == 0) | started)


def most_never_active(units: int) -> float:
    """Return how many units of a healthy ReLU layer may never have been active, as a share.

    A unit is off for an observation as often as on: the draw of its weights is symmetric, and its
    bias starts at 0. Observations that hardly differ leave it so for all of them. The share of such
    units then is that of heads among as many coins, at most a half and its spread.
    """
    return 0.5 + _SPREAD * 0.5 / sqrt(units)


def never_active(facts: Facts, name: str) -> int | None:
    """Return how many units of a living layer never were active, from the layer's bias.

    None where this does not explain the zeros of the bias: where SB3 did not start it at 0 or put
    another activation than ReLU behind it, gradients came where it is zero, or so many units are
    silent that the layer has died. TRPO's policy, which has no moments, keeps no 0: its search
    begins with a small random direction for every parameter (sb3_contrib/common/utils.py,
    `conjugate_gradient_solver`).
    """
    weight = _weight_of(facts, name)
    if weight is None or not _may_never_be_active(facts, name):
        return None
    zeros = zero_positions(facts.tensors[name])
    units = facts.tensors[name].numel
    if not 0 < len(zeros) <= most_never_active(units) * units:
        return None
    for kept in _kept(facts, weight, name):
        silent = kept.is_silent(as_numbers(kept.weight).reshape(units, -1)).all(axis=1)
        silent &= kept.is_silent(as_numbers(kept.bias).reshape(-1))
        return len(zeros) if silent[zeros].all() else None
    return None


def _may_never_be_active(facts: Facts, name: str) -> bool:
    """Return whether a unit may keep the 0 that its bias began with.

    In an agent of somebody's own neither its initialisation nor its activation is known, and
    people start biases at 0.
    """
    if facts.algorithm is None:
        return True
    return facts.biases_start_at_zero and facts.activation(name) in SWITCHING


def silent_layers(facts: Facts) -> list[str]:
    """Return the biases of layers in which no unit has a gradient, dead or not.

    Their weights' second moments are exactly 0, which outlasts biases drawn anew. In a repaired
    copy, whose biases show nothing any more, more silent units than a healthy layer starts with
    are enough.
    """
    enough = most_never_active if facts.checkpoint.is_repaired else lambda units: 1.0
    return [
        name
        for name in facts.parameters
        if facts.anatomy.roles[name].role == "bias"
        and (weight := _weight_of(facts, name)) is not None
        and any(
            _silent_share(kept) >= min(1.0, enough(facts.tensors[name].numel))
            for kept in _kept(facts, weight, name)
        )
    ]


def mostly_silent_layers(facts: Facts) -> dict[str, float]:
    """Return the share of silent units of layers that have more than a healthy one starts with.

    By the layers' biases; those in which all units are silent are `silent_layers`.
    """
    found = {}
    for name in facts.parameters:
        weight = _weight_of(facts, name) if facts.anatomy.roles[name].role == "bias" else None
        if weight is not None:
            share = max((_silent_share(kept) for kept in _kept(facts, weight, name)), default=0.0)
            if most_never_active(facts.tensors[name].numel) < share < 1.0:
                found[name] = share
    return found


def _silent_share(kept: _Moments) -> float:
    """Return the share of units without a gradient in their bias or any of their weights.

    The weight is looked at only where the bias leaves a question.
    """
    silent = as_numbers(kept.bias).reshape(-1) == 0
    if 2 * np.count_nonzero(silent) < silent.size:
        return 0.0
    if silent.all() and _is_all_zero(kept.weight):
        return 1.0
    rows = as_numbers(kept.weight).reshape(silent.size, -1)
    return float(np.mean(silent & ~rows.any(axis=1)))


def input_sizes(facts: Facts, name: str) -> NDArray[np.float64] | None:
    """Return the size of each input of a layer, None where its moments do not tell.

    √(Σᵢ v_W[i, j] ÷ Σᵢ v_b[i]) is a mean of |xⱼ|, weighted by the units' gradients. `name` is the
    layer's bias; a filter's places in one image add up, so filters tell nothing.
    """
    weight = _weight_of(facts, name)
    if weight is None or facts.anatomy.roles[name].kind is not Kind.LINEAR:
        return None
    for kept in _kept(facts, weight, name):
        total = float(np.sum(as_numbers(kept.bias), dtype=np.float64))
        columns = np.sum(as_numbers(kept.weight), axis=0, dtype=np.float64)
        if total > LEAST and columns.size and np.all(np.isfinite(columns)):
            return np.asarray(np.sqrt(columns / total))
    return None


def _weight_of(facts: Facts, name: str) -> str | None:
    """Return the weight beside a bias of one element per row, None for any other."""
    role = facts.anatomy.roles[name]
    prefix = f"{role.layer}." if role.layer else ""
    weight = next((prefix + part for part in _WEIGHTS if prefix + part in facts.tensors), None)
    if role.kind not in _WITH_UNITS or weight is None:
        return None
    shape = facts.tensors[weight].shape
    return weight if shape[:1] == facts.tensors[name].shape else None


def _kept(facts: Facts, weight: str, bias: str) -> Iterator[_Moments]:
    """Yield what each optimizer keeps of both."""
    of_weight = {slot.optimizer: kept for slot, kept in facts.moments(weight)}
    for slot, kept in facts.moments(bias):
        for key in SECOND_MOMENTS:
            beside, own = of_weight.get(slot.optimizer, {}).get(key), kept.get(key)
            if _is_of(beside, facts.tensors[weight]) and _is_of(own, facts.tensors[bias]):
                state = facts.optimizers[slot.optimizer]
                yield _Moments(beside, own, key, slot.number, state)


def _is_of(moment: object, tensor: Tensor) -> TypeGuard[Tensor]:
    return isinstance(moment, Tensor) and moment.shape == tensor.shape and not moment.is_expanded


def is_decayed_start(
    moment: NDArray[Any], key: str, entry: int, state: OptimizerState
) -> NDArray[np.bool_]:
    """Return which elements are no more than a second moment's own start, decayed."""
    left = decayed_start(key, state.options(entry), state.step(entry))
    if left is None:
        return np.zeros(moment.shape, dtype=np.bool_)
    start, rounding = left
    return np.asarray((moment > 0) & (np.abs(moment - start) <= rounding))


def decayed_start(
    key: str, options: Mapping[str, object], step: float | None
) -> tuple[float, float] | None:
    """Return what is left after `step` updates of a second moment that starts at 1, and how much
    of it float32 may have rounded; None where it starts at 0.

    SB3's `RMSpropTFLike`, meant for A2C, starts it at 1, so it decays as α^step where no
    gradient comes; plain RMSprop, which a file does not tell from it, and Adam start at 0.
    """
    if starting_at_one(key) is None:
        return None
    decay = decay_of(key, options)
    if decay is None or step is None or not step >= 0:
        return None
    start = float(decay**step)
    return start, 2 * step * float(np.finfo(np.float32).eps) * start


def _is_all_zero(moment: Tensor) -> bool:
    return not any(bool(chunk.any()) for chunk in pieces(moment))


def stopped_networks(facts: Facts) -> dict[str, list[str]]:
    """Return the weights and biases of each network that has stopped."""
    parts: dict[str, list[str]] = {}
    for name in facts.parameters:
        component = facts.anatomy.roles[name].component
        if component in NETWORKS and any(True for _ in facts.moments(name)):
            parts.setdefault(component, []).append(name)
    return {
        part: names
        for part, names in parts.items()
        if all(updates_of(facts, name) >= LEAST_UPDATES for name in names)
        and all(_has_stopped(facts, name) for name in names)
    }


def updates_of(facts: Facts, name: str) -> float:
    """Return how often the parameter was updated, 0 where no optimizer tells."""
    steps = [facts.optimizers[s.optimizer].step(s.number) or 0.0 for s, _ in facts.moments(name)]
    return min(steps, default=0.0)


def _has_stopped(facts: Facts, name: str) -> bool | None:
    """Return whether a parameter's second moments have forgotten every gradient.

    All of them are 0, or so small that float32 hardly holds them: by Adam's β₂ of 0.999 a moment of
    1e-6 is there after 55,000 updates without a gradient. None where no optimizer keeps any.
    """
    found = None
    for slot, kept in facts.moments(name):
        for key in SECOND_MOMENTS:
            moment = kept.get(key)
            if _is_of(moment, facts.tensors[name]):
                state = facts.optimizers[slot.optimizer]
                if not _is_forgotten(moment, key, slot.number, state):
                    return False
                found = True
    return found


def _is_forgotten(moment: Tensor, key: str, entry: int, state: OptimizerState) -> bool:
    for chunk in pieces(moment):
        numbers = as_floats(moment, chunk)
        # NaN is not forgotten: `not <=` holds for it.
        small = (numbers <= LEAST) | is_decayed_start(numbers, key, entry, state)
        if not small.all():
            return False
    return True
