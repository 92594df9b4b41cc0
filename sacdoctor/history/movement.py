"""How far the tensors of a run moved from checkpoint to checkpoint, and which never did."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np

from sacdoctor.checkpoint import Tensor
from sacdoctor.diagnosis.coverage import OWN_OPTIMIZER
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.statistics import as_floats, chunks
from sacdoctor.history.model import Norms
from sacdoctor.layers import online_name


def squared_distance(old: Tensor, new: Tensor) -> float | None:
    """Return Σ (new − old)² over finite differences, None where the tensors are identical.

    NaN equals NaN. Both must have the same shape, and repeat no elements (stride 0).
    """
    total, is_same = 0.0, True
    for before, after in zip(chunks(old.values), chunks(new.values), strict=True):
        if np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
            continue
        is_same = False
        with np.errstate(invalid="ignore", over="ignore"):
            change = as_floats(new, after).astype(np.float64) - as_floats(old, before)
        finite = change[np.isfinite(change)]
        total += float(np.dot(finite, finite))
    for tensor in (old, new):
        tensor.storage.release()
    return None if is_same else total


def distances(old: Facts, new: Facts) -> dict[str, float | None]:
    """Return the squared distance of each weight and bias between two checkpoints of a run.

    None where it did not move. Tensors that repeat elements are left out.
    """
    return {
        name: squared_distance(old.tensors[name], new.tensors[name])
        for name in new.parameters()
        if not (old.tensors[name].is_expanded or new.tensors[name].is_expanded)
    }


def norms(facts: Facts, moved: Mapping[str, float | None] | None) -> tuple[Norms, dict[str, Norms]]:
    """Return the norms of the online networks, and those of each component.

    `moved` has the squared distances from the checkpoint before, None where there is none.
    """
    members: dict[str, list[str]] = {}
    for name in facts.parameters():
        members.setdefault(facts.anatomy.roles[name].component, []).append(name)
    online = [name for name in facts.parameters() if online_name(name) is None]
    return _norms(facts, online, moved), {
        component: _norms(facts, names, moved) for component, names in members.items()
    }


def _norms(facts: Facts, names: list[str], moved: Mapping[str, float | None] | None) -> Norms:
    weight = sqrt(sum(facts.measures[name].norm ** 2 for name in names))
    if moved is None:
        return Norms(weight, None)
    return Norms(weight, sqrt(sum(moved.get(name) or 0.0 for name in names)))


def part(name: str) -> str:
    """Return the part of the policy whose optimizer looks after a tensor.

    Empty for policies with one optimizer for all, and for a shared features extractor.
    """
    first = name.partition(".")[0]
    return first if first in OWN_OPTIMIZER else ""
