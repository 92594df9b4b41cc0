"""Which tensors of a checkpoint its optimizers cover, by entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sacdoctor.algorithms import PARTS_WITH_OPTIMIZER, TRAINED_VARIABLES
from sacdoctor.checkpoint import OptimizerState, Tensor
from sacdoctor.diagnosis.anatomy import Anatomy
from sacdoctor.diagnosis.optimizer_map import MAX_WORK, Alignment, Candidate, Entry, align
from sacdoctor.optimizers import STEP

USUAL_OPTIMIZERS = 3
"""Where a file holds more than SB3's algorithms have, they share what the search may take."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in an optimizer: its name without `.pth`, and the entry's running number."""

    optimizer: str
    number: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """The slots of each tensor, and the tensors proven to be in no optimizer.

    A tensor in neither is unknown: no optimizer in the file, a target network, or an entry that
    could belong to several tensors. Aliases stand under the name of their first occurrence.
    """

    slots: Mapping[str, tuple[Slot, ...]]
    outside: frozenset[str]


def cover(
    anatomy: Anatomy, tensors: Mapping[str, Tensor], optimizers: Mapping[str, OptimizerState]
) -> Coverage:
    """Return what the optimizers cover of the policy's state dict.

    Which part of the policy an optimizer looks after follows from its name, as SB3
    gives it: `actor.optimizer` the actor's parameters, `policy.optimizer` all but the target
    networks (before SB3 1.5: those too). `ent_coef_optimizer` looks after no part of it.
    """
    slots: dict[str, tuple[Slot, ...]] = {}
    open_questions: set[str] = set()
    optimizers = {name: optimizers[name] for name in optimizers if name not in TRAINED_VARIABLES}
    all_placed = bool(optimizers)
    work = MAX_WORK * USUAL_OPTIMIZERS // max(USUAL_OPTIMIZERS, len(optimizers))
    for optimizer, state in optimizers.items():
        alignment = _align(optimizer, state, anatomy, tensors, work)
        if state.entries and not alignment.entries and not alignment.outside:
            all_placed = False
        open_questions |= alignment.unknown
        for name, number in alignment.entries.items():
            if number not in state.moments and not _has_its_optimizer(name, optimizers):
                continue  # the optimizer that is not in the file may have moments for it
            slots[name] = (*slots.get(name, ()), Slot(optimizer, number))
    outside = {
        name
        for name in tensors
        if all_placed
        and name not in anatomy.aliases
        and name not in slots
        and name not in open_questions
        and _may_be_trained(name, anatomy, tensors)
        and _has_its_optimizer(name, optimizers)
    }
    return Coverage(slots, frozenset(outside))


def _align(
    optimizer: str,
    state: OptimizerState,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    work: int,
) -> Alignment:
    part = optimizer.removesuffix("optimizer").removesuffix("_")  # `actor.`, `policy.`
    scopes = [[name for name in tensors if name.startswith(part)] if part.endswith(".") else []]
    if not scopes[0]:
        trained = [name for name in tensors if anatomy.roles[name].online is None]
        scopes = [trained, list(tensors)]
    alignment = Alignment({}, frozenset(), frozenset())
    for scope in scopes:
        owners = dict.fromkeys(anatomy.owner(name) for name in scope)
        names = [name for name in owners if _may_be_trained(name, anatomy, tensors, targets=True)]
        if len(names) >= len(state.entries):
            alignment = _align_names(names, state, anatomy, tensors, work)
            if alignment.entries or alignment.outside:
                return alignment
    return alignment


def _align_names(
    names: Sequence[str],
    state: OptimizerState,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    work: int,
) -> Alignment:
    roles = anatomy.roles

    candidates = [
        Candidate(
            name,
            tensors[name].shape,
            roles[name].layer if roles[name].role in ("weight", "bias") else None,
        )
        for name in names
    ]
    groups = [[_entry(number, state) for number in group.params] for group in state.groups]
    return align(candidates, groups, work)


def _entry(number: int, state: OptimizerState) -> Entry:
    # A `step` that is a tensor has no dimension; the parameter's own moments have its shape.
    for key, value in state.moments.get(number, {}).items():
        if isinstance(value, Tensor) and key != STEP:
            return Entry(number, value.shape)
    return Entry(number, None)


def _may_be_trained(
    name: str, anatomy: Anatomy, tensors: Mapping[str, Tensor], *, targets: bool = False
) -> bool:
    if anatomy.roles[name].role == "buffer" or not tensors[name].dtype.is_floating_point:
        return False
    return targets or anatomy.roles[name].online is None


def _has_its_optimizer(name: str, optimizers: Mapping[str, OptimizerState]) -> bool:
    """Return whether the optimizer that SB3 would give this part of the policy is in the file."""
    part = name.partition(".")[0]
    if part not in PARTS_WITH_OPTIMIZER or "policy.optimizer" in optimizers:
        return True
    return f"{part}.optimizer" in optimizers
