"""What changed from one checkpoint to the next by other means than training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.checkpoint import Tensor
from sacdoctor.diagnosis import (
    Facts,
    Jump,
    Leap,
    Slot,
    as_floats,
    chunks,
    has_floats,
    largest_rate,
    pieces,
)
from sacdoctor.history.kinship import centred
from sacdoctor.history.reach import is_bounded, reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ENTROPY, _ENTROPY_SLOT = "log_ent_coef", Slot("ent_coef_optimizer", 0)
_MOMENT = "exp_avg_sq"
_EXACT = ("float32", "float64")
_ROUNDING = 2.0**-24
"""Of a value's size: what float32 rounds off at every update."""
_LEAST = 16
"""Rows and columns of a matrix from which on training leaves some of what it was. Gradients have
few directions: a head of 3 rows was turned right round (A2C on images, −1.3 of it left)."""
_DEVIATIONS = 6.0
_MOST_BY_CHANCE = 0.1
"""By so much two independent networks may agree where one of them is judged. Over 143 healthy
trainings of 14 algorithms, 0.43 or more was left from any checkpoint to any later one."""


def jumps(old: Facts, new: Facts, moved: Mapping[str, float | None]) -> tuple[Jump, ...]:
    """Return the networks that something else than training changed between two checkpoints.

    `moved` has the squared distances of the weights and biases.
    """
    leaps: dict[str, dict[str, Leap]] = {}
    for name, leap in _leaps(old, new):
        component = "entropy coefficient"
        if name in new.tensors:
            component = new.anatomy.roles[name].component
        leaps.setdefault(component, {})[name] = leap
    left = dict(_replaced(old, new, moved))
    return tuple(
        Jump(
            component,
            tuple(found),
            max(found.values(), key=lambda leap: leap.excess, default=None),
            left.get(component),
        )
        for component in dict.fromkeys([*left, *leaps])
        for found in [leaps.get(component, {})]
    )


# -- further than the optimizer can move it ----------------------------------------------------


class _Parameter(Struct, frozen=True):
    """A parameter in one checkpoint, with its optimizer's options and what that keeps of it."""

    values: Tensor
    options: Mapping[str, Any]
    kept: Mapping[str, Any]
    updates: float


def _parameters(facts: Facts) -> Iterator[tuple[str, _Parameter]]:
    """Yield the parameters that one optimizer looks after, the entropy coefficient among them."""
    named = [(n, facts.tensors[n], slots[0]) for n, slots in _slots(facts) if len(slots) == 1]
    if _ENTROPY in facts.checkpoint.variables:
        named.append((_ENTROPY, facts.checkpoint.variables[_ENTROPY], _ENTROPY_SLOT))
    for name, values, slot in named:
        state = facts.optimizers.get(slot.optimizer)
        if state is not None and values.dtype.name in _EXACT and not values.is_expanded:
            options, kept = state.options(slot.number), state.moments.get(slot.number, {})
            yield name, _Parameter(values, options, kept, state.step(slot.number) or 0.0)


def _slots(facts: Facts) -> Iterator[tuple[str, tuple[Slot, ...]]]:
    roles = facts.anatomy.roles
    return ((n, of) for n, of in facts.coverage.slots.items() if roles[n].online is None)


def _leaps(old: Facts, new: Facts) -> Iterator[tuple[str, Leap]]:
    """Yield what moved further than Adam can have moved it, at rates that are known."""
    rates = [largest_rate(facts.checkpoint) for facts in (old, new)]
    if None in rates or new.updates_by_other_means:
        return
    before = dict(_parameters(old))
    for name, parameter in _parameters(new):
        if name in before and before[name].values.shape == parameter.values.shape:
            leap = _leap(name, before[name], parameter, max(rate or 0.0 for rate in rates))
            if leap is not None:
                yield name, leap


def _leap(name: str, before: _Parameter, after: _Parameter, rate: float) -> Leap | None:
    """Return by how much the furthest element is beyond its limit, None where none is."""
    betas, updates = _betas(before, after), after.updates - before.updates
    moments = before.kept.get(_MOMENT), after.kept.get(_MOMENT)
    if betas is None or updates <= 0 or not _fits(moments[1], after.values):
        return None
    if moments[0] is not None and not _fits(moments[0], before.values):
        return None
    applied = (of.options.get("lr") for of in (before, after))
    rate = max(rate, *(abs(of) for of in applied if isinstance(of, float)))
    parts = [before.values, after.values, *(moment for moment in moments if moment is not None)]
    worst: Leap | None = None
    cut = pieces if all(part.is_contiguous for part in parts) else _by_rows
    for some in zip(*map(cut, parts), strict=True):
        was, now, *kept = (
            as_floats(part, piece).astype(np.float64)
            for part, piece in zip(parts, some, strict=True)
        )
        distance = np.abs(now - was)
        first = kept[0] if len(kept) == 2 else np.zeros_like(was)
        limit = reach(rate, updates, betas, first, kept[-1])
        limit += updates * _ROUNDING * np.maximum(np.abs(now), np.abs(was))
        for at in np.argwhere((distance > limit) & (now != 0.0) & (limit > 0.0)):
            one = tuple(at)
            leap = Leap(name, float(distance[one]), float(limit[one]), int(updates), rate)
            worst = max(worst or leap, leap, key=lambda leap: leap.excess)
    return worst


def _by_rows(tensor: Tensor) -> Iterator[NDArray[Any]]:
    return chunks(tensor.values)


def _betas(before: _Parameter, after: _Parameter) -> tuple[float, float] | None:
    """Return Adam's, where both checkpoints have the same ones and no weight decay."""
    options = before.options, after.options
    betas = [of.get("betas") for of in options]
    is_adam = betas[0] == betas[1] and not any(of.get("weight_decay") for of in options)
    if not is_adam or not isinstance(betas[1], (list, tuple)) or len(betas[1]) != 2:
        return None
    first, second = betas[1]
    if not (isinstance(first, float) and isinstance(second, float)):
        return None
    return (first, second) if is_bounded((first, second)) else None


def _fits(moment: object, values: Tensor) -> bool:
    return (
        isinstance(moment, Tensor)
        and moment.shape == values.shape
        and moment.dtype.name in _EXACT
        and not moment.is_expanded
    )


# -- nothing left of what it was ---------------------------------------------------------------


def _replaced(
    old: Facts, new: Facts, moved: Mapping[str, float | None]
) -> Iterator[tuple[str, float]]:
    """Yield the networks of which nothing is left, with the share that is: 0 but for chance.

    That share is Σ a b ÷ Σ a² over the weights before (a) and after (b), less the means of rows and
    columns. Training adds to weights, nearly at right angles to what they were: most of them stays
    in the sum, however far it goes. Of n weights that were drawn anew 0 ± ‖b‖ ÷ (‖a‖ √n) is left.
    """
    for component, names in _matrices(new).items():
        size = sum(old.measures[name].norm ** 2 for name in names)
        if not 4.0 * sum(moved.get(name) or 0.0 for name in names) > size:
            continue
        product = before = after = count = 0.0
        for name in names:
            a, b = (_centred(facts.tensors[name]) for facts in (old, new))
            product, before = product + float(np.vdot(a, b)), before + float(np.vdot(a, a))
            after, count = after + float(np.vdot(b, b)), count + a.size
        if not (before > 0.0 and after > 0.0 and np.isfinite(before + after)):
            continue
        chance = _DEVIATIONS * sqrt(after / before / count)
        if abs(product / before) <= chance <= _MOST_BY_CHANCE:
            yield component, product / before


def _matrices(facts: Facts) -> dict[str, list[str]]:
    """Return the weights of each online network that have enough rows and columns."""
    found: dict[str, list[str]] = {}
    for name in facts.parameters:
        tensor, role = facts.tensors[name], facts.anatomy.roles[name]
        if role.online is None and len(tensor.shape) > 1 and has_floats(tensor):
            rows = tensor.shape[0]
            if min(rows, tensor.numel // max(rows, 1)) >= _LEAST and not tensor.is_expanded:
                found.setdefault(role.component, []).append(name)
    return found


def _centred(tensor: Tensor) -> NDArray[np.float64]:
    matrix = as_floats(tensor, tensor.values).reshape(tensor.shape[0], -1)
    return centred(matrix.astype(np.float64))
