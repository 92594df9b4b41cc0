"""Files held open for reading, which others may write, cut off or replace meanwhile.

A small file is read whole: what is made of it is made of one moment. For a large one as much room
in memory is set aside as it is long, which takes none until it is filled. Views of that room tell
where bytes stand in the file, and whoever wants to look at some has them read: `fetched`, or into
their place with `pin`. So memory stays small, and a file that is cut off meanwhile makes a read
come up short, where a map of it would end the process with a bus error. At its end the work asks
whether the file is what it was (`refuse_changed`).
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from sacdoctor.errors import ChangedFile, NotACheckpoint, unopened

WHOLE = 8 * 1024**2
"""Bytes up to which a file is read whole."""
_PINNED_ENDS = 16 * 1024
"""Bytes at either end of a large file that are pinned: by them its kind is told."""
_PIECE = 128 * 1024
"""Bytes whose checksum is made in one go: they stay in the processor's nearest cache."""
SCRATCH = 8 * 1024**2
_TICK = 20_000_000
"""Nanoseconds within which a file may change again and have the same time of change (Linux 6.12
and before count them in ticks of a few milliseconds)."""

_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
"""Linux's MAP_NORESERVE, which Python names from 3.13 on: a file may be longer than memory."""
_PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE}
    if hasattr(mmap, "MAP_PRIVATE")
    else {}  # Windows has no others
)
_scratch: list[memoryview] = []


class _Held(mmap.mmap):
    """The room for a file that stays open; `address` is where it begins."""

    path: Path
    descriptor: int
    status: os.stat_result
    address: int

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # there may have been no room
            os.close(self.descriptor)

    def offset(self, view: memoryview) -> int:
        """Return where the bytes of a view, which are not none, stand in the file."""
        return _address(view) - self.address

    def read_into(self, target: memoryview | bytearray, at: int) -> None:
        """Fill `target` with the bytes from `at` on; raises `ChangedFile` where there are none."""
        left = memoryview(target)
        try:
            while len(left):
                count = _read_at(self.descriptor, left, at)
                if not count:
                    raise ChangedFile(self.path)
                left, at = left[count:], at + count
        except OSError as error:
            raise NotACheckpoint(f"it cannot be read: {error.strerror}", self.path) from None


class Ranges(Protocol):
    """The bytes of a file that is not on this machine, read a range at a time."""

    size: int

    def read_into(self, target: memoryview, at: int) -> None:
        """Fill `target` with the bytes from `at` on; raises `SacdoctorError` where that fails."""

    def ahead(self, spans: Iterable[tuple[int, int]]) -> None:
        """Read these spans (start, bytes) at once, for they are asked for next."""


class _Far(_Held):
    """The room for a file that is elsewhere."""

    ranges: Ranges

    def read_into(self, target: memoryview | bytearray, at: int) -> None:
        self.ranges.read_into(memoryview(target), at)


def map_ranges(ranges: Ranges) -> memoryview:
    """Return the bytes of a file that is elsewhere, to be fetched as those of a large one are.

    Raises `NotACheckpoint` for an empty file and where there is no room, and what reading raises.
    """
    try:
        held = _Far(-1, ranges.size, **_PRIVATE)
    except (OSError, ValueError) as error:
        raise NotACheckpoint(
            f"it cannot be read: {error}" if ranges.size else "the file is empty"
        ) from None
    held.ranges = ranges
    return _begun(held)


def map_file(path: Path, whole: int = WHOLE) -> memoryview:
    """Return the bytes of a file: read if there are at most `WHOLE`, or `whole`, else to fetch.

    Raises `NotACheckpoint` for a folder, a pipe, an empty file and what cannot be opened,
    `ChangedFile` where it changes while it is read.
    """
    try:
        # A pipe without a writer would block; a regular file does not care.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except IsADirectoryError:
        raise NotACheckpoint("it is a folder") from None
    except OSError as error:
        raise unopened(error) from None
    kept = False
    try:
        status = _status(descriptor)
        if status.st_size <= min(WHOLE, whole):
            return memoryview(_read_whole(descriptor, status))
        held = _Held(-1, status.st_size, **_PRIVATE)
        held.descriptor, held.status, held.path = descriptor, status, path
        kept = True
        return _begun(held)
    except (OSError, ValueError) as error:
        raise NotACheckpoint(f"it cannot be read: {error}") from None
    finally:
        if not kept:
            os.close(descriptor)


def _status(descriptor: int) -> os.stat_result:
    """Return the status of an open file; raises `NotACheckpoint` where it is none with bytes."""
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise NotACheckpoint("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise NotACheckpoint("it is not a regular file")
    if status.st_size == 0:
        raise NotACheckpoint("the file is empty")
    return status


def _read_whole(descriptor: int, status: os.stat_result) -> bytes:
    """Return all bytes of a file as they are at one moment."""
    was_just_written = time.time_ns() - status.st_mtime_ns < _TICK
    data = _all_of(descriptor, status.st_size)
    if len(data) != status.st_size or _stamp(os.fstat(descriptor)) != _stamp(status):
        raise ChangedFile
    if was_just_written:
        os.lseek(descriptor, 0, os.SEEK_SET)
        if _all_of(descriptor, status.st_size) != data:
            raise ChangedFile
    return data


def _all_of(descriptor: int, size: int) -> bytes:
    """Return what is left of a file, and no more than a byte beyond `size`."""
    data = os.read(descriptor, size + 1)
    while len(data) < size and (more := os.read(descriptor, size + 1 - len(data))):
        data += more
    return data


def _read_at(descriptor: int, target: memoryview, at: int) -> int:
    """Read into `target` what stands from `at` on; return how many bytes."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [target], at)
    os.lseek(descriptor, at, os.SEEK_SET)
    data = os.read(descriptor, len(target))
    target[: len(data)] = data
    return len(data)


def _begun(held: _Held) -> memoryview:
    """Return the view of a held file, its ends pinned."""
    view = memoryview(held)
    held.address = _address(view)
    view = view.toreadonly()
    pin(view[:_PINNED_ENDS])
    pin(view[max(0, len(view) - _PINNED_ENDS) :])
    return view


def fetched(view: memoryview) -> memoryview:
    """Return the bytes of a view so that they can be looked at: as they are, or read into memory.

    Raises `ChangedFile` where the file has become too short.
    """
    held = view.obj
    if not isinstance(held, _Held) or not len(view):
        return view
    read = np.empty(len(view), np.uint8).data
    held.read_into(read, held.offset(view))
    return read.toreadonly()


def fetch_into(target: memoryview, view: memoryview) -> None:
    """Fill `target` with the bytes of a view of a large file; raises as `fetched` does."""
    held = view.obj
    assert isinstance(held, _Held)
    held.read_into(target, held.offset(view))


def pin(view: memoryview) -> None:
    """Read the bytes under a view into their place: what was pinned can be looked at there.

    Raises `ChangedFile` where the file has become too short.
    """
    held = view.obj
    if isinstance(held, _Held) and len(view):
        start = held.offset(view)
        held.read_into(memoryview(held)[start : start + len(view)], start)


def unpin(view: memoryview) -> None:
    """Let go of the whole pages under a view that was pinned; the ends of the file stay."""
    held = view.obj
    if not isinstance(held, _Held) or not hasattr(held, "madvise") or not len(view):
        return
    start = held.offset(view)
    end = min(start + len(view), len(held) - _PINNED_ENDS)
    start = max(start, _PINNED_ENDS)
    start += -start % mmap.PAGESIZE
    end -= end % mmap.PAGESIZE
    if start < end:
        held.madvise(mmap.MADV_DONTNEED, start, end - start)


def is_held(view: memoryview) -> bool:
    """Return whether a view is of a large file, whose bytes must be fetched."""
    return isinstance(view.obj, _Held)


def is_far(view: memoryview) -> bool:
    """Return whether a view is of a file that is elsewhere, where each byte takes its time."""
    return isinstance(view.obj, _Far)


def fetch_ahead(view: memoryview, spans: Iterable[tuple[int, int]]) -> None:
    """Have spans of a view (start, bytes) read at once where it is far; others need no such word.

    What stands beyond the end of the view is left out.
    """
    held = view.obj
    if isinstance(held, _Far) and len(view):
        start = held.offset(view)
        held.ranges.ahead(
            [(start + at, min(size, len(view) - at)) for at, size in spans if 0 <= at < len(view)]
        )


def refuse_changed(view: memoryview) -> None:
    """Raise `ChangedFile` where a held file is another than when it was opened.

    Whoever reads a far one's ranges sees to that.
    """
    held = view.obj
    if isinstance(held, _Far):
        return
    if isinstance(held, _Held) and _stamp(os.fstat(held.descriptor)) != _stamp(held.status):
        raise ChangedFile(held.path)


def crc32(view: memoryview, crc: int = 0) -> int:
    """Return the CRC-32 of a view's bytes, fetched piece by piece; `crc` is of those before it."""
    held = view.obj
    if not isinstance(held, _Held) or not len(view):
        return zlib.crc32(view, crc)
    start = held.offset(view)
    with scratch() as room:
        for at in range(0, len(view), _PIECE):
            piece = room[: min(_PIECE, len(view) - at)]
            held.read_into(piece, start + at)
            crc = zlib.crc32(piece, crc)
    return crc


@contextmanager
def scratch() -> Iterator[memoryview]:
    """Give room of `SCRATCH` bytes to read into, which is used again: fresh room takes time."""
    room = _scratch.pop() if _scratch else np.empty(SCRATCH, np.uint8).data
    try:
        yield room
    finally:
        _scratch.append(room)


def stamp_of(path: str | Path) -> tuple[int, ...] | None:
    """Return what tells a file from one that takes its place or is written over it; None without.

    Its device and number, its size, its time of change.
    """
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, *_stamp(status)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _address(view: memoryview) -> int:
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address
