"""The records that end a zip archive and say where its directory stands.

Zip files are read from their end, and readers differ in what they make of an odd one. What is read
here is what Python's `zipfile` (by which SB3 opens a checkpoint) and torch's own reader both find;
where they would find two directories, the file is refused.
"""

from __future__ import annotations

import struct

from msgspec import Struct

from sacdoctor.errors import NotACheckpoint, UnsupportedCheckpoint
from sacdoctor.files import fetched, pin

END = struct.Struct("<4sHHHHIIH")
END64_LOCATOR = struct.Struct("<4sIQI")
END64 = struct.Struct("<4sQHHIIQQQQ")
_MAX_COMMENT = 0xFFFF
_END_RECORDS = _MAX_COMMENT + END.size + END64_LOCATOR.size + END64.size
"""Bytes at the end of an archive in which the records stand that end it."""


class Directory(Struct, frozen=True):
    """Where the central directory stands and the records that end the archive.

    `end64` is the position of the zip64 end record, None where there is none.
    """

    start: int
    size: int
    count: int
    end64: int | None
    end: int


def read_directory(buffer: memoryview) -> Directory:
    """Return where the directory of the archive in `buffer` stands.

    Raises `NotACheckpoint` where the archive does not end as one, or not where it says, and
    `UnsupportedCheckpoint` where it spans several disks.
    """
    if len(buffer) < END.size:
        raise NotACheckpoint("not a zip archive: it is too short")
    pin(buffer[-_END_RECORDS:])
    end_at = _end(buffer)
    if end_at is None:
        raise NotACheckpoint(
            "the end of the zip archive is missing: the file was cut off, or is no zip"
        )
    try:
        return _directory(buffer, end_at)
    except NotACheckpoint:
        comment = END.unpack_from(buffer, end_at)[-1]
        if end_at + END.size + comment == len(buffer):
            raise
        # Of a zip that was cut off, the last end may be that of a torch file in it.
        raise NotACheckpoint(
            "it does not end as a zip archive does: it was cut off (fetch or save it again), or "
            "something was put behind its end"
        ) from None


def _directory(buffer: memoryview, end_at: int) -> Directory:
    _, disk, directory_disk, _, count, size, start, _ = END.unpack_from(buffer, end_at)
    limit, end64 = end_at, None
    locator_at = end_at - END64_LOCATOR.size
    if locator_at >= 0 and bytes(buffer[locator_at : locator_at + 4]) == b"PK\x06\x07":
        end64_at = END64_LOCATOR.unpack_from(buffer, locator_at)[2]
        # zipfile looks right before the locator, torch where the locator points to.
        if (
            end64_at + END64.size != locator_at
            or bytes(buffer[end64_at : end64_at + 4]) != b"PK\x06\x06"
        ):
            raise NotACheckpoint("the zip64 end record is not where the archive says")
        short = count, size, start
        disk, directory_disk, _, count, size, start = END64.unpack_from(buffer, end64_at)[4:]
        for given, said, most in zip(
            short, (count, size, start), (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), strict=True
        ):
            if given not in (said, most):
                raise NotACheckpoint("its two zip end records disagree, and readers take either")
        limit = end64 = end64_at
    if disk or directory_disk:
        raise UnsupportedCheckpoint("the archive spans several disks")
    if start + size > limit:
        raise NotACheckpoint("the zip directory runs past the end of the archive")
    if start + size != limit:
        raise NotACheckpoint(
            f"{limit - start - size:,} bytes stand where the zip directory should end: something "
            "was put before or into the archive, which SB3 may load all the same"
        )
    return Directory(start, size, count, end64, end_at)


def ends_as_zip(buffer: memoryview) -> bool:
    """Return whether a file that begins as something else is a zip archive at its end.

    `zipfile`, and so SB3, opens such a file: it counts back from the end.
    """
    end_at = _end(buffer)
    if end_at is None:
        return False
    locator = fetched(buffer[max(0, end_at - END64_LOCATOR.size) :][:4])
    if bytes(locator) == b"PK\x06\x07":
        return True
    size = END.unpack(fetched(buffer[end_at : end_at + END.size]))[5]
    start = fetched(buffer[max(0, end_at - size) :][:4])
    return bytes(start) in (b"PK\x01\x02", b"PK\x05\x06")


def _end(buffer: memoryview) -> int | None:
    """Return where the end record stands, None where there is none."""
    tail_at = max(0, len(buffer) - END.size - _MAX_COMMENT)
    tail = bytes(fetched(buffer[tail_at:]))
    at = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - END.size + 4))
    return tail_at + at if at >= 0 else None
