"""The page of a difference: what moved between two checkpoints, by the parts of the agent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from msgspec import Struct

from sacdoctor.history import TensorDifference
from sacdoctor.report.formats.html.page import number, write_page
from sacdoctor.report.results import DiffResult

_MOST_ROWS = 400
"""Tensors that are listed for a part of the agent."""


class Part(Struct, frozen=True):
    """A part of the agent: the tensors in it that differ, the furthest first.

    `largest` is the largest relative distance of any, None where none can be told.
    """

    name: str
    total: int
    differing: tuple[TensorDifference, ...]
    hidden: int
    largest: float | None


def write(result: DiffResult, file: TextIO) -> None:
    """Write the page to a text file."""
    difference = result.difference
    settings = [(one.key, _value(one.before), _value(one.after)) for one in difference.settings]
    write_page(
        "diff",
        file,
        difference=difference,
        tensors=_parts(difference.tensors),
        moments=_parts(difference.optimizer),
        settings=settings,
        describe=describe,
    )


def _parts(tensors: Iterable[TensorDifference]) -> list[Part]:
    groups: dict[str, list[TensorDifference]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.component, []).append(tensor)
    parts = [_part(name, members) for name, members in groups.items()]
    return sorted(parts, key=lambda part: (not part.differing, -(part.largest or 0.0)))


def _part(name: str, members: Sequence[TensorDifference]) -> Part:
    differing = [one for one in members if one.status != "identical"]
    differing.sort(key=lambda one: -(one.relative_l2 or 0.0))
    known = [one.relative_l2 for one in differing if one.relative_l2 is not None]
    return Part(
        name,
        len(members),
        tuple(differing[:_MOST_ROWS]),
        max(0, len(differing) - _MOST_ROWS),
        max(known, default=None),
    )


def describe(tensor: TensorDifference) -> str:
    """Return in words how a tensor differs, where numbers do not say it."""
    if tensor.status == "reshaped":
        return f"{_shape(tensor.shape_before)} became {_shape(tensor.shape_after)}"
    if tensor.status != "changed":
        return tensor.status
    if tensor.max_abs is None:
        return "undefined"
    return (
        f"{tensor.changed:,} elements, by {number(tensor.max_abs)} at most"
        if tensor.changed
        else "type only"
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return " × ".join(map(str, shape or ())) or "a number"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "not there" if value is None else json.dumps(value)
