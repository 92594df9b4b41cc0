"""Pickles of replay buffers written anew: bytes are copied but where something else comes.

Nothing is pickled again, so a class of which only the name is known loads what was written.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.files import fetched
from sacdoctor.pickles import PickledArray, Places
from sacdoctor.replay.buffer import Origin, ReplayBuffer
from sacdoctor.replay.shortening import PIECE

_TRUE, _FALSE = b"\x88", b"\x89"
_WHOLE_NUMBERS = ((b"K", 2), (b"M", 3), (b"J", 5))
"""Opcodes of whole numbers and their lengths; what is longer does more than put a number there."""
_BYTES = ((b"\x96", 8), (b"\x8e", 8), (b"B", 4), (b"C", 1))
"""Opcodes of bytes, and how many bytes say how long they are."""


class Replacement(NamedTuple):
    """Bytes of the old file, from `start` to `end`, and the `pieces` that come in their place."""

    start: int
    end: int
    pieces: Iterable[bytes | memoryview]


class PickleOrigin(Origin):
    """An open pickle, and where in it things stand."""

    def __init__(self, data: memoryview, places: Places) -> None:
        self.data = data
        self.places = places

    @abstractmethod
    def replacements(self, buffer: ReplayBuffer, rows: int) -> Iterator[Replacement]:
        """Yield what is put in the place of what. Raises before anything is written."""

    def without_oldest(self, buffer: ReplayBuffer, rows: int) -> Callable[[BinaryIO], None]:
        found = [*self.replacements(buffer, rows)]
        # A frame announces its length, which may change; a pickle is as good without frames.
        found += [Replacement(start, end, ()) for start, end in self.places.frames]
        found.sort(key=lambda replacement: replacement.start)

        def write(file: BinaryIO) -> None:
            at = 0
            for start, end, pieces in found:
                self._copy(at, start, file)
                for piece in pieces:
                    file.write(piece)
                at = end
            self._copy(at, len(self.data), file)

        return write

    def _copy(self, start: int, end: int, file: BinaryIO) -> None:
        for at in range(start, end, PIECE):
            file.write(fetched(self.data[at : min(at + PIECE, end)]))

    def number(self, key: str, owners: Iterable[Any], new: int | bool) -> Replacement:
        """Return what puts a number, or a truth value, in the place of what `key` has.

        `owners` are the dicts, or what stands for them, among which one has it.
        """
        among = {id(owner) for owner in owners}
        for value in self.places.values:
            if value.key == key and id(value.target) in among:
                start, end = value.place
                old = bytes(fetched(self.data[start:end]))
                if old in (_TRUE, _FALSE) if isinstance(new, bool) else is_whole(old):
                    return Replacement(start, end, (encoded(new),))
        kind = "True or False" if isinstance(new, bool) else "a plain whole number"
        raise unsuited(f"`{key}` is not kept as {kind}")

    def rows_of(
        self, name: str, array: PickledArray, rows: int, pieces: Iterable[bytes]
    ) -> Iterator[Replacement]:
        """Yield what makes an array one of so many rows, with the `pieces` for its bytes.

        An array that keeps its size keeps all that describes it.
        """
        view = array.view()
        place = self.place_of(view)
        if place is None:
            raise unsuited(f"its {name!r} are not kept as plain bytes, row by row")
        start, end = place
        yield Replacement(start, end, pieces)
        if rows == len(view):
            return
        width = self._width(start, end - start)
        number = self.places.first_number_of(array.shape)
        if width is None or number is None:
            raise unsuited(f"how long its {name!r} are stands where no pickler puts it")
        size = view.nbytes // len(view) * rows
        yield Replacement(start - width, start, (size.to_bytes(width, "little"),))
        yield Replacement(*number, (encoded(rows),))

    def _width(self, start: int, size: int) -> int | None:
        """Return how many bytes before `start` say that there are `size` of them."""
        for opcode, width in _BYTES:
            at = start - width
            if at < 1:
                continue
            before = bytes(fetched(self.data[at - 1 : start]))
            if before[:1] == opcode and int.from_bytes(before[1:], "little") == size:
                return width
        return None


def is_whole(data: bytes) -> bool:
    """Return whether bytes of a pickle are a whole number and nothing else."""
    return (data[:1], len(data)) in _WHOLE_NUMBERS


def encoded(value: int | bool) -> bytes:
    """Return the opcode that puts a truth value or a whole number there (pickletools: BININT*)."""
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if value < 1 << 8:
        return b"K" + value.to_bytes(1, "little")
    if value < 1 << 16:
        return b"M" + value.to_bytes(2, "little")
    return b"J" + value.to_bytes(4, "little")


def unsuited(what: str) -> UnsupportedCheckpoint:
    """Return the error about a buffer that cannot be written anew."""
    return UnsupportedCheckpoint(f"it cannot be cleaned here: {what}; load it and save it again")
