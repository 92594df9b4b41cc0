"""Why a bias is zero: one cause from a closed list, and the evidence for it in the file."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from sacdoctor.checkpoint import OptimizerState, Tensor
from sacdoctor.diagnosis.coverage import Slot
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.gradient_record import is_decayed_start, never_active
from sacdoctor.diagnosis.initialisation import is_orthogonal, was_trained
from sacdoctor.diagnosis.statistics import all_equal, as_numbers, zero_positions
from sacdoctor.layers import NORM_WEIGHTS, Kind
from sacdoctor.model import Cause
from sacdoctor.optimizers import TELLING_MOMENTS, optimizer_with, starting_at_one

OUTLAST_REPAIR = (Cause.NOT_IN_OPTIMIZER, Cause.NO_GRADIENT, Cause.ZERO_GRADIENT)
"""Causes that are still there once the values are repaired: nothing trains what was drawn."""


LEAST_WITHOUT = 100
"""Updates of other networks after which one without any is spoken of. A judgement: TD3 and CrossQ
update their policies every second or third time, and some leave a critic a few batches' lead."""


class Attribution(Struct, frozen=True):
    """What zeros are put down to: a cause, and its evidence in one sentence.

    `is_harmless`: the cause shows that they are as they should be.
    """

    cause: Cause
    evidence: str
    is_harmless: bool = False


def fresh_norm(facts: Facts, name: str) -> Attribution | None:
    """Return `normalisation-init` for a Norm bias at its starting value, None for any other."""
    role = facts.anatomy.roles[name]
    if role.kind is not Kind.NORM or facts.measures[name].zeros < facts.tensors[name].numel:
        return None
    prefix = f"{role.layer}." if role.layer else ""
    weights = [prefix + part for part in NORM_WEIGHTS if prefix + part in facts.tensors]
    if not weights or not all_equal(facts.tensors[weights[0]], 1.0):
        return None
    return Attribution(
        Cause.NORMALISATION_INIT,
        "its bias is all 0 and its weight all 1: a normalisation layer's starting value",
        is_harmless=True,
    )


def cause_of(facts: Facts, name: str) -> Attribution:
    """Return why the bias `name`, some of whose elements are zero, is so.

    The order of the questions is the precedence of the causes: whether anything was trained at
    all, whether the optimizer knows the tensor, whether it ever had a gradient, and what its
    moments say where it is zero. A target network's tensor takes its online counterpart's cause,
    unless only the target is zero.
    """
    if facts.tensors[name].is_expanded:
        return _unknown("it repeats the elements of a smaller storage")
    online = facts.anatomy.roles[name].online
    if online is not None and online in facts.tensors:
        return _of_target(facts, name, online)
    if not facts.policy_optimizers:
        return _unknown("the file holds no optimizer state")
    if facts.is_untrained:
        return Attribution(
            Cause.UNTRAINED,
            f"no optimizer has any state and the counters agree (updates: {facts.n_updates or 0}): "
            "the zeros are initial values",
        )
    silent = never_active(facts, name)
    if silent is not None:
        return _never_active(facts, name, silent)
    if facts.updates_by_other_means and not any(kept for _, kept in facts.moments(name)):
        return _unknown(f"{facts.checkpoint.algorithm} updates its policy without an optimizer")
    if name in facts.coverage.outside:
        return Attribution(Cause.NOT_IN_OPTIMIZER, _outside(facts, name))
    slots = [slot for slot, _ in facts.moments(name)]
    if not slots:
        return _unknown(_why_no_slot(facts, name))
    return _of_moments(facts, name, slots)


def _of_target(facts: Facts, name: str, online: str) -> Attribution:
    tensor, counterpart = facts.tensors[name], facts.tensors[online]
    if counterpart.shape != tensor.shape or counterpart.is_expanded:
        return _unknown(f"its online counterpart {online} has another shape")
    zeros = zero_positions(tensor)
    both = len(np.intersect1d(zeros, zero_positions(counterpart), assume_unique=True))
    if 2 * both < len(zeros):
        evidence = (
            f"{online} is not zero in {len(zeros) - both:,} of the {len(zeros):,} elements that "
            "are zero here"
        )
        is_as_made = facts.algorithm is None and _may_be_as_made(facts, name)
        if is_as_made:
            evidence += "; its network may still be as it was made, before its first update"
        return Attribution(Cause.TARGET_OUT_OF_SYNC, evidence, is_harmless=is_as_made)
    owner = facts.anatomy.owner(online)
    if facts.anatomy.roles[owner].online is not None:
        return _unknown(f"its online counterpart {online} shares the elements of {owner}")
    attribution = cause_of(facts, owner)
    return Attribution(
        attribution.cause, f"as its online counterpart {online}: {attribution.evidence}"
    )


def _may_be_as_made(facts: Facts, name: str) -> bool:
    """Return whether all that is known of a target network fits one that was only initialised.

    So is one that is copied every thousand steps, before the first time: all its biases are 0, and
    no weight has left what initialisers draw.
    """
    roles = facts.anatomy.roles
    for other in facts.own():
        role, tensor = roles[other], facts.tensors[other]
        if role.online is None or role.component != roles[name].component:
            continue
        if role.role == "bias" and facts.measures[other].zeros < tensor.numel:
            return False
        if role.role == "weight" and was_trained(tensor):
            return False
    return True


def _never_active(facts: Facts, name: str, zeros: int) -> Attribution:
    units = facts.tensors[name].numel
    start = (
        "they started with" if facts.algorithm is None else f"{facts.algorithm.name} starts with"
    )
    return Attribution(
        Cause.ZERO_GRADIENT,
        f"{zeros:,} of {units:,} units were never active yet: their biases still are the 0 that "
        f"{start}, and neither they nor their weights ever had a gradient",
        is_harmless=True,
    )


def _outside(facts: Facts, name: str) -> str:
    entries = sum(len(state.entries) for state in facts.policy_optimizers.values())
    parameters = facts.parameters
    outside = sum(other in facts.coverage.outside for other in parameters)
    evidence = (
        f"none of the {entries:,} entries of {' and '.join(facts.policy_optimizers)} is its own; "
        f"{outside:,} weights and biases have none"
    )
    role = facts.anatomy.roles[name]
    sibling = f"{role.layer}.weight"
    if sibling in facts.tensors and is_orthogonal(facts.tensors[sibling]):
        evidence += "; its weight is still exactly orthogonal, as it was initialised"
    return evidence


def _why_no_slot(facts: Facts, name: str) -> str:
    online = facts.anatomy.roles[name].online
    if online is not None:
        return f"it belongs to a target network, and {online} is not in the file"
    part = name.partition(".")[0]
    if not any(
        name.startswith(state.parts)
        if state.parts is not None
        else optimizer.startswith((part, "policy"))
        for optimizer, state in facts.policy_optimizers.items()
    ):
        return f"the file holds no optimizer state for {part}"
    return "which of the optimizer's entries is its own, if any, does not follow from their shapes"


def _of_moments(facts: Facts, name: str, slots: list[Slot]) -> Attribution:
    states = {slot.optimizer: facts.optimizers[slot.optimizer] for slot in slots}
    if not any(kept for _, kept in facts.moments(name)):
        return _without_moments(facts, slots[0], states[slots[0].optimizer])
    tensor = facts.tensors[name]
    zeros = zero_positions(tensor)
    attribution = _unknown("its optimizer keeps no moments that would tell")
    for slot, kept in facts.moments(name):
        key, moment = _telling_moment(kept, tensor)
        if moment is None:
            continue
        at_zeros = np.abs(as_numbers(moment).reshape(-1)[zeros])
        if not np.all(np.isfinite(at_zeros)):
            return _unknown(f"its {key} in {slot.optimizer} is not finite")
        is_start = is_decayed_start(at_zeros, key, slot.number, states[slot.optimizer])
        if 2 * int(np.count_nonzero(is_start)) >= len(zeros):
            return _unknown(
                f"its {key} in {slot.optimizer} started at 1 ({starting_at_one(key)}) and still "
                "hides whether any gradient came"
            )
        moved = int(np.count_nonzero(at_zeros[~is_start]))
        if 2 * moved >= len(zeros):
            if _never_steps(facts, states[slot.optimizer]):
                return _unknown("its learning rate is 0, so nothing it covers ever moved")
            return Attribution(
                Cause.RESET_AFTER_TRAINING,
                f"its {key} in {slot.optimizer} is not 0 in {moved:,} of the {len(zeros):,} "
                "elements that are zero: they were trained, then something set them to 0",
            )
        attribution = Attribution(
            Cause.ZERO_GRADIENT,
            f"its {key} in {slot.optimizer} is exactly 0 in {len(zeros) - moved:,} of the "
            f"{len(zeros):,} elements that are zero: every gradient that came was 0",
        )
    return attribution


def _without_moments(facts: Facts, slot: Slot, state: OptimizerState) -> Attribution:
    updates = facts.updates_without(slot.optimizer)
    if updates is not None and updates >= LEAST_WITHOUT:
        return Attribution(
            Cause.NO_GRADIENT,
            f"{slot.optimizer} has no moments at all, while others had {updates:,} updates: the "
            "gradients of all it looks after were always None",
        )
    if not state.moments:
        rows = (optimizer_with(group.options) for group in state.groups)
        told = next((row.name for row in rows if row is not None), None)
        kind = f"{told} without momentum keeps none" if told else "it keeps none for others"
        return _unknown(f"{slot.optimizer} has no moments for it, and {kind}")
    return Attribution(
        Cause.NO_GRADIENT,
        f"{slot.optimizer} has an entry for it and no moments, while "
        f"{len(state.moments):,} of {len(state.entries):,} entries have some: its gradient was "
        "always None",
    )


def _telling_moment(kept: object, tensor: Tensor) -> tuple[str, Tensor | None]:
    """Return the moment that is 0 where every gradient was 0, and its name."""
    assert isinstance(kept, dict)
    for key in TELLING_MOMENTS:
        moment = kept.get(key)
        if isinstance(moment, Tensor) and moment.shape == tensor.shape and not moment.is_expanded:
            return key, moment
    return "", None


def _never_steps(facts: Facts, state: OptimizerState) -> bool:
    """Return whether the rate is 0 and no weight shows that it ever was another.

    A rate of 0 alone says little: it is where a schedule ends.
    """
    if any(group.learning_rate != 0 for group in state.groups):
        return False
    weights = [n for n in facts.parameters if facts.anatomy.roles[n].role == "weight"]
    return not any(was_trained(facts.tensors[name]) for name in weights)


def _unknown(evidence: str) -> Attribution:
    return Attribution(Cause.UNKNOWN, evidence)
