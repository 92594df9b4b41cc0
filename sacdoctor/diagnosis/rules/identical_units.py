"""Layers whose units are copies of each other.

## What it does
Reports layers of at least four units in which half of the rows of a weight or more repeat another
row bit for bit, in files that hold optimizers; rows that are all zero do not count.

## Why is this bad
Units with the same weights compute the same and get the same gradient: they never part, and the
layer works as if it had one unit of each kind. A random draw makes no two rows equal.

## Example
`nn.init.constant_(layer.weight, 0.01)`; a weight made by repeating a row.

## Use instead
A random initialisation (SB3 draws orthogonal weights itself unless `ortho_init=False`), and train
anew: training cannot tell the units apart.

## Fix safety
No fix: it would replace trained weights.

## References
- Goodfellow et al. 2016, "Deep Learning", section 8.4: initialisation must break the symmetry
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sacdoctor.checkpoint import Tensor
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.statistics import row_pieces
from sacdoctor.layers import Kind
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_UNITS = 4
_WITH_UNITS = (Kind.LINEAR, Kind.CONV, Kind.LSTM, Kind.GRU, Kind.RNN, Kind.ATTENTION)


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all layers with copied units."""
    facts = examination.facts
    asked = {layer.name for layer in examination.layers}
    found = {
        name: copies
        for name in facts.parameters
        if name in asked and facts.policy_optimizers and (copies := _copies(facts, name))
    }
    if not found:
        return
    first = next(iter(found))
    units = facts.tensors[first].shape[0]
    yield RULE.finding(
        Severity.WARNING if facts.is_untrained else Severity.CRITICAL,
        f"the units of {len(found):,} layer{'s are copies' if len(found) > 1 else ' are copies'} "
        "of each other",
        evidence=f"{first}: {found[first]:,} of {units:,} rows repeat another row exactly",
        remedy=(
            "Draw the weights at random (SB3 does so by itself; look for nn.init.constant_) and "
            "train anew: units that are equal get equal gradients and never part."
        ),
        tensors=tuple(found),
    )


def _copies(facts: Facts, name: str) -> int:
    """Return how many rows of a weight repeat another; 0 where they are fewer than half."""
    role, tensor = facts.anatomy.roles[name], facts.tensors[name]
    if role.role != "weight" or role.kind not in _WITH_UNITS or len(tensor.shape) < 2:
        return 0
    if tensor.shape[0] < LEAST_UNITS or not tensor.numel:
        return 0
    return _repeated_rows(tensor)


def _repeated_rows(tensor: Tensor) -> int:
    # Two columns tell nearly every weight: rows that are equal are equal there.
    ends = np.concatenate([some[:, [0, -1]] for some in row_pieces(tensor)])
    if any(_distinct(column) > tensor.shape[0] // 2 for column in ends.T):
        return 0
    rows = np.concatenate([*row_pieces(tensor)])
    if len(rows) != tensor.shape[0]:
        rows = np.broadcast_to(rows, (tensor.shape[0], rows.shape[1]))
    rows = rows[rows.any(axis=1)]
    copies = len(rows) - len({row.tobytes() for row in rows})
    return copies if len(rows) >= LEAST_UNITS and 2 * copies >= len(rows) else 0


def _distinct(column: NDArray[Any]) -> int:
    return len(set(column.reshape(-1).tolist()))


RULE = Rule(
    code="SD107",
    name="identical-units",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    needs_optimizers=True,
)
