"""How far the tensors of a run moved from checkpoint to checkpoint, and which never did."""

from __future__ import annotations

from collections.abc import Mapping
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
    for name in new.parameters():
        before, after = old.tensors[name], new.tensors[name]
        if not (before.is_expanded or after.is_expanded):
            moved = distance(before, after)
            found[name] = (moved.l2 or 0.0) ** 2 if moved.changed else None
    return found


def norms(facts: Facts, moved: Mapping[str, float | None] | None) -> tuple[Norms, dict[str, Norms]]:
    """Return the norms of the online networks, and those of each component.

    `moved` has the squared distances from the checkpoint before, None where there is none.
    """
    members: dict[str, list[str]] = {}
    for name in facts.parameters():
        members.setdefault(facts.anatomy.roles[name].component, []).append(name)
    online = [name for name in facts.parameters() if facts.anatomy.roles[name].online is None]
    return _norms(facts, online, moved), {
        component: _norms(facts, names, moved) for component, names in members.items()
    }


def _norms(facts: Facts, names: list[str], moved: Mapping[str, float | None] | None) -> Norms:
    weight = sqrt(sum(facts.measures[name].norm ** 2 for name in names))
    non_finite = sum(facts.measures[name].non_finite for name in names)
    if moved is None:
        return Norms(weight, None, non_finite)
    return Norms(weight, sqrt(sum(moved.get(name) or 0.0 for name in names)), non_finite)


def standing(facts: Facts, moved: Mapping[str, float | None]) -> tuple[str, ...]:
    """Return the components of the online networks of which nothing moved, while another did."""
    members: dict[str, list[bool]] = {}
    for name in moved:
        if facts.anatomy.roles[name].online is None:
            component = facts.anatomy.roles[name].component
            members.setdefault(component, []).append(moved[name] is not None)
    still = tuple(component for component, movers in members.items() if not any(movers))
    return still if len(still) < len(members) else ()


def part(name: str) -> str:
    """Return the part of the policy whose optimizer looks after a tensor.

    Empty for policies with one optimizer for all, and for a shared features extractor.
    """
    first = name.partition(".")[0]
    return first if first in PARTS_WITH_OPTIMIZER else ""
