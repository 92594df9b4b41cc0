"""How far the tensors of a run moved from checkpoint to checkpoint, and which never did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt

from sacdoctor.algorithms import PARTS_WITH_OPTIMIZER
from sacdoctor.diagnosis import Facts
from sacdoctor.history.distance import distance
from sacdoctor.history.model import Norms


def distances(old: Facts, new: Facts) -> dict[str, float | None]:
    """Return the squared distance of each weight and bias between two checkpoints of a run.

    None where it did not move; 0.0 where it moved to or from what is not finite. Tensors that
    repeat elements are left out.
    """
    found: dict[str, float | None] = {}
    for name in new.parameters:
        before, after = old.tensors[name], new.tensors[name]
        if not (before.is_expanded or after.is_expanded):
            moved = distance(before, after)
            found[name] = (moved.l2 or 0.0) ** 2 if moved.changed else None
    return found


def norms(facts: Facts, moved: Mapping[str, float | None] | None) -> tuple[Norms, dict[str, Norms]]:
    """Return the norms of the online networks, and those of each component.

    `moved` has the squared distances from the checkpoint before, None where there is none.
    """
    members = _members(facts, facts.parameters)
    online = [name for name in facts.parameters if facts.anatomy.roles[name].online is None]
    return _norms(facts, online, moved), {
        component: _norms(facts, names, moved) for component, names in members.items()
    }


def _norms(facts: Facts, names: list[str], moved: Mapping[str, float | None] | None) -> Norms:
    weight = sqrt(sum(facts.measures[name].norm ** 2 for name in names))
    non_finite = sum(facts.measures[name].non_finite for name in names)
    if moved is None:
        return Norms(weight, None, non_finite)
    return Norms(weight, sqrt(sum(moved.get(name) or 0.0 for name in names)), non_finite)


Standing = Mapping[str, tuple[str, ...]]
"""The weights and biases of each component that stands still."""


def standing(facts: Facts, moved: Mapping[str, float | None]) -> Standing:
    """Return the components of the online networks of which nothing moved, while another did."""
    roles = facts.anatomy.roles
    members = _members(facts, (name for name in moved if roles[name].online is None))
    still = _unmoved(members, moved)
    return still if len(still) < len(members) else {}


def left_behind(facts: Facts, moved: Mapping[str, float | None]) -> Standing:
    """Return the target networks of which nothing moved while their online network did."""
    online = {name: facts.anatomy.roles[name].online for name in moved}
    still = _unmoved(_members(facts, (name for name in moved if online[name] is not None)), moved)
    return {
        component: names
        for component, names in still.items()
        if any(moved.get(online[name] or "") is not None for name in names)
    }


def _members(facts: Facts, names: Iterable[str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(facts.anatomy.roles[name].component, []).append(name)
    return members


def _unmoved(members: Mapping[str, list[str]], moved: Mapping[str, float | None]) -> Standing:
    return {
        component: tuple(names)
        for component, names in members.items()
        if all(moved[name] is None for name in names)
    }


def part(name: str) -> str:
    """Return the part of the policy whose optimizer looks after a tensor.

    Empty for policies with one optimizer for all, and for a shared features extractor.
    """
    first = name.partition(".")[0]
    return first if first in PARTS_WITH_OPTIMIZER else ""
