"""Files mapped into memory, their pages let go once they were read.

Memory stays small however large the file is.

The system counts a mapped file's pages as the memory of the process that read them. It takes
them back when it needs them, but until then they look like a leak, and container limits see it so.
"""

from __future__ import annotations

import mmap
import os
import stat
import zlib
from pathlib import Path

from sacdoctor.errors import NotACheckpoint

_PIECE = 16 * 1024**2
"""Bytes read before their pages are let go."""
_FEW = 32 * 1024
"""Bytes below which to let go of pages takes longer than it is worth."""


def map_file(path: Path) -> memoryview:
    """Return the bytes of a file, mapped for reading.

    Raises `NotACheckpoint` for a folder, a pipe, an empty file and what cannot be opened.
    """
    try:
        # A pipe without a writer would block; a regular file does not care.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise NotACheckpoint(error.strerror or str(error)) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise NotACheckpoint("it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise NotACheckpoint("it is not a regular file")
        if status.st_size == 0:
            raise NotACheckpoint("the file is empty")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise NotACheckpoint(f"it cannot be mapped into memory: {error}") from None
    finally:
        os.close(descriptor)


def release(data: memoryview, position: int | None) -> None:
    """Let go of the pages under `data`, which stands at `position` of a mapped file.

    Reading them again brings them back. Does nothing for data that is not mapped, or is small.
    """
    if len(data) < _FEW:
        return
    mapped = data.obj
    if position is None or not isinstance(mapped, mmap.mmap) or not hasattr(mapped, "madvise"):
        return
    start = position - position % mmap.PAGESIZE
    mapped.madvise(mmap.MADV_DONTNEED, start, position + len(data) - start)


def crc32(data: memoryview, position: int | None, crc: int = 0) -> int:
    """Return the CRC-32 of `data`, letting go of its pages on the way (see `release`).

    `crc` is that of the bytes before it.
    """
    if len(data) < _FEW:
        return zlib.crc32(data, crc)
    for at in range(0, len(data), _PIECE):
        piece = data[at : at + _PIECE]
        crc = zlib.crc32(piece, crc)
        release(piece, None if position is None else position + at)
    return crc
