"""Whether a written optimizer is the completed one: each moment at its parameter's new place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sacdoctor.checkpoint import Edits, ElementEdit, OptimizerState, Tensor
from sacdoctor.diagnosis import Completion


def is_as_completed(
    completion: Completion, before: OptimizerState, after: OptimizerState, edits: Edits
) -> bool:
    """Return whether `after` is `before` completed, with `edits` in it and nothing else.

    It has an entry for each parameter, in their order; the moments of each are what they were, bit
    for bit, and so are the options of the groups.
    """
    changed = {"param_names"} if edits.learning_rate is None else {"param_names", "lr"}
    edited: dict[tuple[str | int, ...], list[ElementEdit]] = {}
    for edit in edits.elements:
        if edit.optimizer == completion.optimizer:
            edited.setdefault(edit.path, []).append(edit)
    moved = {completion.moved[number]: kept for number, kept in before.moments.items()}
    return (
        after.entries == tuple(range(len(completion.names)))
        and len(after.groups) == len(completion.state.groups)
        and all(
            _same(old.options, new.options, changed)
            for old, new in zip(before.groups, after.groups, strict=False)  # two may be one now
        )
        and after.moments.keys() == moved.keys()
        and all(
            kept.keys() == after.moments[number].keys()
            and all(
                _plain(kept[key], edited.get(("state", number, key), ()))
                == _plain(after.moments[number][key])
                for key in kept
            )
            for number, kept in moved.items()
        )
    )


def _same(old: Mapping[str, Any], new: Mapping[str, Any], changed: set[str]) -> bool:
    return old.keys() == new.keys() and all(
        _plain(old[key]) == _plain(new[key]) for key in old.keys() - changed
    )


def _plain(value: Any, edits: Sequence[ElementEdit] = ()) -> Any:
    """Return a value that is equal to that of another tensor or number if their bits are."""
    if isinstance(value, (list, tuple)):
        return [type(value), *map(_plain, value)]
    if not isinstance(value, Tensor):
        return type(value), repr(value)  # a NaN is not equal to itself
    elements = value.values.reshape(-1).copy()
    for edit in edits:
        elements[edit.positions] = edit.values
    return value.dtype.name, value.shape, elements.tobytes()
