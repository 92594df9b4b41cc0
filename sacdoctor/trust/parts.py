"""Every pickle that loading a file would open, with what is not proven harmless in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacdoctor.archive import ends_as_zip
from sacdoctor.checkpoint import Checkpoint, Limits, Pickled, decoded
from sacdoctor.checkpoint.formats import CONTAINERS
from sacdoctor.checkpoint.formats import ENDINGS as CHECKPOINT_ENDINGS
from sacdoctor.errors import CheckpointError, CorruptCheckpoint
from sacdoctor.files import map_file
from sacdoctor.pickles import Name, is_pickle
from sacdoctor.trust.called_by_sb3 import ENVIRONMENT
from sacdoctor.trust.references import (
    Kind,
    Reference,
    references,
    references_by_chance,
    torch_references,
)

_MAX_ENVIRONMENT = 100
"""Characters of an environment's name that are told."""
_PICKLE_ENDINGS = (".pkl", ".pickle")
ENDINGS = (
    *dict.fromkeys(end for kind in CONTAINERS if kind.has_pickles for end in kind.endings),
    *_PICKLE_ENDINGS,
)
"""How files that hold pickles are named: checkpoints, state dicts, replay buffers."""


def place_of(member: str, key: str) -> str:
    """Return in words where a pickle stands; either may be empty."""
    return " ".join(part for part in (member, key) if part)


@dataclass(frozen=True, slots=True)
class PickledPart:
    """One pickle: the member it stands in, its key there (in `data`), and what it refers to.

    `member` is empty where the file itself is the pickle. `is_torch`: it stands in a file that
    torch.save wrote.
    """

    member: str
    key: str
    references: tuple[Reference, ...]
    is_torch: bool = field(default=False, compare=False)

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return place_of(self.member, self.key)

    def readable(self) -> PickledPart:
        """Return the part without the note that it cannot be read to its end."""
        known = tuple(r for r in self.references if r.kind is not Kind.UNREAD)
        return PickledPart(self.member, self.key, known, self.is_torch)


def is_pickle_file(path: str | Path) -> bool:
    """Return whether the file is a pickle of its own, such as a replay buffer's.

    Told by its ending, or by its first bytes where it is not named like a checkpoint. What cannot
    be opened is none.
    """
    name = str(path).lower()
    if name.endswith(CHECKPOINT_ENDINGS):
        return False
    start = _start_of_file(path)
    if not is_pickle(start) and not (start and name.endswith(_PICKLE_ENDINGS)):
        return False
    try:
        buffer = map_file(Path(path))
    except CheckpointError:
        return False
    return not any(kind.opens(buffer) for kind in CONTAINERS)


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
    """Return the one part of a pickle file, which is read where it lies, not loaded.

    A zip behind the pickle, which SB3 would load in its place, is a reference that cannot be read.
    Raises `NotACheckpoint` where there is no such file.
    """
    try:
        data = map_file(Path(path))
    except CheckpointError as error:
        raise error.at(path) from None
    found = references(data, Limits.of_buffer(len(data)))
    if ends_as_zip(data):
        found += (_unread("a zip archive stands behind it, which SB3 would load all the same"),)
    return (PickledPart("", "", found),)


def parts_of(checkpoint: Checkpoint) -> Iterator[PickledPart]:
    """Yield each pickle of an open checkpoint in which anything is not proven harmless.

    These are the same whatever was read of the checkpoint before; only the work differs: a pickle
    that was read and is proven plain is not walked again, for nothing would be found. Raises
    `CorruptCheckpoint` for damage, after all that can be read.
    """
    return (part for part in _parts(checkpoint) if part.references)


def _parts(checkpoint: Checkpoint) -> Iterator[PickledPart]:
    damage: CheckpointError | None = None
    try:
        yield from _environments(checkpoint)
        for key, encoded in encoded_pickles(checkpoint):
            yield PickledPart("data", key, references_in_text(encoded, checkpoint.limits, key))
    except CheckpointError as error:
        damage = error
    if not checkpoint.container.has_pickles:
        yield PickledPart("", "", references_by_chance(checkpoint.buffer, checkpoint.limits))
    for file in checkpoint.pickles():
        if file.is_plain:
            continue
        walk = torch_references if file.is_torch else references
        try:
            found = walk(file.read(), checkpoint.limits)
            yield PickledPart(file.member, "", found, file.is_torch)
        except CorruptCheckpoint as error:
            damage = damage or error
        except CheckpointError as error:
            yield PickledPart(file.member, "", (_unread(error.reason),))
    if damage is not None:
        raise damage.at(checkpoint.path)


def encoded_pickles(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Yield each base64 pickle in `data` with its key, dotted where it stands deeper."""
    if not checkpoint.container.has_settings:
        return  # what counts the steps there is no setting, and takes reading its tensors
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


def _environments(checkpoint: Checkpoint) -> Iterator[PickledPart]:
    """Yield the environment that SB3 would make by a name in `data`, where it writes none."""
    named = (
        checkpoint.hyperparameters.get(ENVIRONMENT) if checkpoint.container.has_settings else None
    )
    if isinstance(named, str):
        words = f"has SB3 make the environment {named[:_MAX_ENVIRONMENT]!r}"
        found = [Reference(Kind.FORM, Name("", words))]
        module, colon, _ = named.partition(":")
        if colon:
            found.append(Reference(Kind.IMPORT, Name(module[:_MAX_ENVIRONMENT], "")))
        yield PickledPart("data", ENVIRONMENT, tuple(found))


def _is_open(value: Any) -> bool:
    return isinstance(value, (dict, list))


def references_in_text(encoded: str, limits: Limits, key: str) -> tuple[Reference, ...]:
    """Return what is not proven of a base64 pickle under `key`, decoded as SB3 does."""
    try:
        return references(memoryview(decoded(encoded)), limits, key)
    except CorruptCheckpoint:
        return (_unread("it is not base64"),)


def _unread(reason: str) -> Reference:
    return Reference(Kind.UNREAD, Name("", reason))
