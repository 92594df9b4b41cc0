"""Every pickle that loading a file would open, with what it refers to outside the allow list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacdoctor.archive.reading import Budget
from sacdoctor.archive.zip_end import ends_as_zip
from sacdoctor.checkpoint.checkpoint import Checkpoint
from sacdoctor.checkpoint.hyperparameters import Pickled, decoded
from sacdoctor.checkpoint.torch_file import is_legacy
from sacdoctor.errors import CheckpointError, CorruptCheckpoint
from sacdoctor.files.paging import map_file
from sacdoctor.pickles import Name
from sacdoctor.trust.references import (
    Kind,
    Limits,
    Reference,
    is_pickle,
    references,
    torch_references,
)

_TORCH_ENDINGS = (".pth", ".pt")
_CHECKPOINT_ENDINGS = (".zip", *_TORCH_ENDINGS)
_PICKLE_ENDINGS = (".pkl", ".pickle")
ENDINGS = (*_CHECKPOINT_ENDINGS, *_PICKLE_ENDINGS)
"""How files that hold pickles are named: checkpoints, state dicts, replay buffers."""


@dataclass(frozen=True, slots=True)
class PickledPart:
    """One pickle: the member it stands in, its key there (in `data`), and what it refers to.

    `member` is empty where the file itself is the pickle.
    """

    member: str
    key: str
    references: tuple[Reference, ...]

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return " ".join(part for part in (self.member, self.key) if part)

    def readable(self) -> PickledPart:
        """Return the part without the note that it cannot be read to its end."""
        known = tuple(r for r in self.references if r.kind is not Kind.UNREAD)
        return PickledPart(self.member, self.key, known)


def is_pickle_file(path: str | Path) -> bool:
    """Return whether the file is a pickle of its own, such as a replay buffer's.

    Told by its ending, or by its first bytes where it is not named like a checkpoint. What cannot
    be opened is none.
    """
    name = str(path).lower()
    if name.endswith(_CHECKPOINT_ENDINGS):
        return False
    start = _start_of_file(path)
    if is_legacy(memoryview(start)) or start.startswith(b"PK"):
        return False
    return is_pickle(start) or (bool(start) and name.endswith(_PICKLE_ENDINGS))


def begins_as_pickle(path: str | Path) -> bool:
    """Return whether a file begins as a pickle does, however it is named."""
    return is_pickle(_start_of_file(path))


def _start_of_file(path: str | Path) -> bytes:
    try:
        if not Path(path).is_file():
            return b""  # a pipe would block
        with Path(path).open("rb") as file:
            return file.read(16)
    except (OSError, ValueError):
        return b""


def parts_of_pickle(path: str | Path) -> tuple[PickledPart, ...]:
    """Return the one part of a pickle file, which is mapped, not loaded.

    A zip behind the pickle, which SB3 would load in its place, is a reference that cannot be read.
    Raises `NotACheckpoint` where there is no such file.
    """
    try:
        data = map_file(Path(path))
    except CheckpointError as error:
        raise error.at(path) from None
    found = references(data)
    if ends_as_zip(data):
        found += (_unread("a zip archive stands behind it, which SB3 would load all the same"),)
    return (PickledPart("", "", found),)


def parts_of(checkpoint: Checkpoint) -> Iterator[PickledPart]:
    """Yield each pickle of an open checkpoint that refers to anything outside the allow list.

    A member that the strict reader has read is not walked again: all its names are on a shorter
    list still. Raises `CorruptCheckpoint` for damage, after all that can be read.
    """
    found = _bare(checkpoint) if checkpoint.is_bare else _members(checkpoint)
    return (part for part in found if part.references)


def _bare(checkpoint: Checkpoint) -> Iterator[PickledPart]:
    if "" not in checkpoint.understood:
        yield PickledPart("", "", torch_references(checkpoint.buffer, _limits(checkpoint)))


def _limits(checkpoint: Checkpoint) -> Limits:
    archive = checkpoint.torch_archive if checkpoint.is_bare else checkpoint.archive
    expansion = Budget.of(len(checkpoint.buffer)) if archive is None else archive.budget
    return Limits(checkpoint.pickle_budget, expansion)


def _members(checkpoint: Checkpoint) -> Iterator[PickledPart]:
    archive, limits = checkpoint.archive, _limits(checkpoint)
    damage: CheckpointError | None = None
    try:
        for key, encoded in encoded_pickles(checkpoint):
            yield PickledPart("data", key, references_in_text(encoded, limits))
    except CheckpointError as error:
        damage = error
    for name in archive:
        if name == "data" or name in checkpoint.understood:
            continue
        try:
            if name.lower().endswith(_TORCH_ENDINGS):
                yield PickledPart(name, "", torch_references(archive.read(name), limits))
            elif name.lower().endswith(_PICKLE_ENDINGS) or is_pickle(archive.start_of(name, 2)):
                yield PickledPart(name, "", references(archive.read(name), limits))
        except CorruptCheckpoint as error:
            damage = damage or error
        except CheckpointError as error:
            yield PickledPart(name, "", (_unread(error.reason),))
    if damage is not None:
        raise damage.at(checkpoint.path)


def encoded_pickles(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Yield each base64 pickle in `data` with its key, dotted where it stands deeper."""
    open_: list[tuple[str, Any]] = [*checkpoint.hyperparameters.items()][::-1]
    while open_:
        key, value = open_.pop()
        if isinstance(value, Pickled):
            yield key, value.encoded
            value = value.attributes
        elif isinstance(value, dict) and isinstance(value.get(":serialized:"), str):
            yield key, value[":serialized:"]
        if isinstance(value, dict):
            open_ += [(f"{key}.{name}", item) for name, item in value.items() if _is_open(item)]
        elif isinstance(value, list):
            open_ += [(f"{key}[{at}]", item) for at, item in enumerate(value) if _is_open(item)]


def _is_open(value: Any) -> bool:
    return isinstance(value, (dict, list))


def references_in_text(encoded: str, limits: Limits) -> tuple[Reference, ...]:
    """Return what a base64 pickle refers to, decoded as SB3 does."""
    try:
        return references(memoryview(decoded(encoded)), limits)
    except CorruptCheckpoint:
        return (_unread("it is not base64"),)


def _unread(reason: str) -> Reference:
    return Reference(Kind.UNREAD, Name("", reason))
