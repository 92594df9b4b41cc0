"""Which tensors of a checkpoint its optimizers cover, by entry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import permutations

from msgspec import Struct

from sacdoctor.algorithms import PARTS_WITH_OPTIMIZER, TRAINED_VARIABLES
from sacdoctor.checkpoint import OptimizerState, Tensor
from sacdoctor.diagnosis.anatomy import Anatomy
from sacdoctor.diagnosis.optimizer_map import MAX_WORK, Alignment, Candidate, Entry, align
from sacdoctor.optimizers import STEP

MOST_IN_ANY_ORDER = 4
"""Parts that are tried in every order: 24 of them."""
USUAL_OPTIMIZERS = 3
"""Where a file holds more than SB3's algorithms have, they share what the search may take."""


class Slot(Struct, frozen=True):
    """A place in an optimizer: its name without `.pth`, and the entry's running number."""

    optimizer: str
    number: int


class Coverage(Struct, frozen=True):
    """The slots of each tensor, and the tensors proven to be in no optimizer.

    A tensor in neither is unknown: no optimizer in the file, a target network, or an entry that
    could belong to several tensors. Aliases stand under the name of their first occurrence.
    """

    slots: Mapping[str, tuple[Slot, ...]]
    outside: frozenset[str]


_NOTHING = Alignment({}, frozenset(), frozenset())


def cover(
    anatomy: Anatomy, tensors: Mapping[str, Tensor], optimizers: Mapping[str, OptimizerState]
) -> Coverage:
    """Return what the optimizers cover of the policy's state dict.

    Which part of the policy an optimizer looks after follows from its name, as SB3
    gives it: `actor.optimizer` the actor's parameters, `policy.optimizer` all but the target
    networks (before SB3 1.5: those too). `ent_coef_optimizer` looks after no part of it. In a file
    of somebody's own it has the parts that its name gives it, if its entries fit them.
    """
    slots: dict[str, tuple[Slot, ...]] = {}
    open_questions: set[str] = set()
    optimizers = of_the_policy(optimizers)
    all_placed = bool(optimizers)
    known = {part for state in optimizers.values() for part in state.parts or ()}
    work = MAX_WORK * USUAL_OPTIMIZERS // max(USUAL_OPTIMIZERS, len(optimizers))
    for optimizer, state in optimizers.items():
        if state.parts is None:
            alignment = _align(optimizer, state, anatomy, tensors, work)
        else:
            alignment = _align_parts(state, state.parts, anatomy, tensors, work)
            if not alignment.entries:
                others = known.difference(state.parts)
                alignment = _made_from(others, state, anatomy, tensors) or alignment
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
    return Coverage(slots, frozenset(outside - _doubles(outside, slots, tensors, optimizers)))


def of_the_policy(optimizers: Mapping[str, OptimizerState]) -> dict[str, OptimizerState]:
    """Return the optimizers that look after networks: not that of `log_ent_coef` or its like.

    In a file of somebody's own that is one with a single entry of one number.
    """
    return {
        name: state
        for name, state in optimizers.items()
        if name not in TRAINED_VARIABLES and not (state.parts is not None and _is_of_one(state))
    }


def _is_of_one(state: OptimizerState) -> bool:
    if len(state.entries) != 1:
        return False
    kept = state.moments.get(state.entries[0], {}).values()
    return all(moment.numel == 1 for moment in kept if isinstance(moment, Tensor))


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
    return _align_first(scopes, state, anatomy, tensors, work)


def _align_parts(
    state: OptimizerState,
    parts: Sequence[str],
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    work: int,
) -> Alignment:
    """Return the alignment with parts of the file that only a name gives to the optimizer.

    Within one part some layers may be missing, as in SB3's policies. Of several, which need not
    stand in the file as they were handed over, each must be there as a whole or not at all.
    """
    names = {part: [name for name in tensors if name.startswith(part)] for part in parts}
    trained = {
        part: [name for name in names[part] if anatomy.roles[name].online is None] for part in parts
    }
    if len(parts) == 1:
        return _align_first([trained[parts[0]], names[parts[0]]], state, anatomy, tensors, work)
    orders = permutations(parts) if len(parts) <= MOST_IN_ANY_ORDER else iter([parts])
    for order in orders:
        scope = [name for part in order for name in trained[part]]
        alignment = _align_first([scope], state, anatomy, tensors, work)
        if alignment.entries and _are_whole(trained.values(), alignment, anatomy):
            return alignment
    return _NOTHING


def _made_from(
    others: Iterable[str],
    state: OptimizerState,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
) -> Alignment | None:
    """Return that none of its own parts is in an optimizer which was made from another part.

    So it is where its entries do not fit its own, and all have moments, of just the shapes of
    another part. None where it is not.
    """
    shapes = [_entry(number, state).shape for number in state.entries]
    if not shapes or None in shapes or not state.parts:
        return None
    for other in others:
        names = [n for n in tensors if n.startswith(other) and _may_be_trained(n, anatomy, tensors)]
        if [tensors[name].shape for name in names] == shapes:
            own = (name for name in tensors if name.startswith(state.parts))
            return Alignment({}, frozenset(own), frozenset())
    return None


def _are_whole(parts: Iterable[Sequence[str]], alignment: Alignment, anatomy: Anatomy) -> bool:
    """Return whether all weights and biases of each part have an entry, or none."""
    for names in parts:
        owners = {anatomy.owner(name) for name in names}
        layers = [name for name in owners if anatomy.roles[name].role in ("weight", "bias")]
        if any(name in alignment.unknown for name in layers):
            return False
        if len({name in alignment.entries for name in layers}) > 1:
            return False
    return True


def _align_first(
    scopes: Iterable[Sequence[str]],
    state: OptimizerState,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    work: int,
) -> Alignment:
    """Return the alignment with the first of several lists of tensors that fits at all."""
    alignment = _NOTHING
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
    """Return whether the optimizer that looks after this part of the policy is in the file."""
    if any(state.parts is not None for state in optimizers.values()):
        return any(name.startswith(state.parts or ()) for state in optimizers.values())
    part = name.partition(".")[0]
    if part not in PARTS_WITH_OPTIMIZER or "policy.optimizer" in optimizers:
        return True
    return f"{part}.optimizer" in optimizers


def _doubles(
    outside: Collection[str],
    slots: Mapping[str, object],
    tensors: Mapping[str, Tensor],
    optimizers: Mapping[str, OptimizerState],
) -> set[str]:
    """Return the tensors of parts that may be mere copies of others, which are trained.

    So are averages of the weights, or the policy before the update, however they are called: no
    optimizer has any of them, and another part has the same names and shapes.
    """
    prefixes = {part for state in optimizers.values() for part in state.parts or ()}
    held = {part: [name for name in tensors if name.startswith(part)] for part in prefixes}
    shapes = {
        part: {name[len(part) :]: tensors[name].shape for name in names}
        for part, names in held.items()
    }
    trained = [part for part, names in held.items() if any(name in slots for name in names)]
    copies = [part for part in prefixes if part not in trained and outside]
    return {
        name
        for part in copies
        if any(shapes[part] == shapes[other] for other in trained)
        for name in held[part]
    }
