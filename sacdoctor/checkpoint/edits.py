"""What is to change in a checkpoint, as plain values that know nothing of how files are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct, field

from sacdoctor.checkpoint.optimizer_state import OptimizerState
from sacdoctor.checkpoint.tensors import Tensor
from sacdoctor.files import fetched
from sacdoctor.pickles import GlobalName

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sacdoctor.archive import Pieces


class ElementEdit(Struct, frozen=True, eq=False):
    """New values for some elements of one tensor.

    `optimizer` is the one whose state holds the tensor, None for the policy's state dict; `path`
    leads to it in there. `positions` count elements in C order; `values` has one raw element
    (`tensor.dtype.code`) for each.
    """

    optimizer: str | None
    path: tuple[str | int, ...]
    tensor: Tensor
    positions: NDArray[np.int64]
    values: NDArray[Any]


class Edits(Struct, frozen=True):
    """What is to change. `settings` get a new number, those in `removed` go.

    `wrappers` are paths in the policy's names that go from them (`unwrapped`).
    `names` are those of classes and functions that pickles ask for, and what they ask for instead.
    `optimizers` are written anew, by name; elements of theirs are named as they stand there.
    `record` is the new note about repairs. A file that has no place for settings, optimizers or
    the note has them left out; only SB3's zips have `wrappers` taken out.
    """

    elements: Sequence[ElementEdit] = ()
    learning_rate: float | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    removed: Sequence[str] = ()
    optimizers: Mapping[str, OptimizerState] = field(default_factory=dict)
    wrappers: frozenset[str] = frozenset()
    names: Mapping[GlobalName, GlobalName] = field(default_factory=dict)
    record: bytes | None = None


def edited_storages(elements: Sequence[ElementEdit]) -> dict[str, bytes]:
    """Return the new bytes of every storage that changes, by its key; their size is as before.

    All tensors must be of one state dict, where no two storages share a key.
    """
    contents: dict[str, bytearray] = {}
    for edit in elements:
        storage = edit.tensor.storage
        if storage.key not in contents:
            contents[storage.key] = bytearray(fetched(storage.data))
        content = contents[storage.key]
        values = np.frombuffer(content, dtype=edit.tensor.dtype.code, count=storage.numel)
        values[_storage_positions(edit.tensor, edit.positions)] = edit.values
    return {key: bytes(content) for key, content in contents.items()}


def edited_in_place(buffer: memoryview, elements: Sequence[ElementEdit]) -> Pieces:
    """Return the bytes of a file with `elements` in it, all others as they are.

    Each of their storages must stand in the file as it is, at its `position`.
    """
    storages = (edit.tensor.storage for edit in elements)
    places = {storage.key: storage.position for storage in storages}
    changed = edited_storages(elements)
    return with_contents(buffer, {at: changed[key] for key, at in places.items() if at is not None})


def with_contents(buffer: memoryview, contents: Mapping[int, bytes]) -> Pieces:
    """Return the bytes of a file with others from these positions on, as many as stood there."""
    pieces: list[bytes | memoryview] = []
    at = 0
    for start, content in sorted(contents.items()):
        pieces += [buffer[at:start], content]
        at = start + len(content)
    return [*pieces, buffer[at:]]


def _storage_positions(tensor: Tensor, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    if tensor.is_contiguous:
        return positions + tensor.offset
    indices = np.unravel_index(positions, tensor.shape)
    steps = zip(indices, tensor.stride, strict=True)
    total = tensor.offset + sum(index * step for index, step in steps)
    return np.asarray(total, dtype=np.int64)
