"""The end of a zip archive: two directories in one file are refused, not chosen from."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from sacdoctor.archive.zip_end import END, ends_as_zip, read_directory
from sacdoctor.errors import NotACheckpoint
from tests.archives import Entry, raw_zip, saved, zip_of


def parts(data: bytes, shift: int = 0) -> tuple[bytes, bytes]:
    """The members and the directory of an archive, its one member moved by `shift`."""
    size, start = END.unpack(data[-END.size :])[5:7]
    directory = bytearray(data[start : start + size])
    struct.pack_into("<I", directory, 42, shift)
    return data[:start], bytes(directory)


def end64(directory: bytes, start: int) -> bytes:
    numbers = (1, 1, len(directory), start)
    return struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, *numbers)


def locator(at: int) -> bytes:
    return struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)


SHOWN, HIDDEN = (raw_zip([Entry("data", content)]) for content in (b"shown", b"hidden"))


def two_directories() -> tuple[bytes, int]:
    """An archive with a zip64 end record, a second one behind it, where the first record stands."""
    body, directory = parts(SHOWN)
    first = len(body) + len(directory)
    head = body + directory + end64(directory, len(body))
    body, directory = parts(HIDDEN, len(head))
    return head + body + directory, first


def read_by_python(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("data")


def test_a_zip64_record_that_is_not_right_before_its_locator_is_refused() -> None:
    head, first = two_directories()
    _, directory = parts(HIDDEN, 0)
    start = len(head) - len(directory)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, *(0xFFFF,) * 2, *(0xFFFFFFFF,) * 2, 0)
    data = head + end64(directory, start) + locator(first) + end
    assert read_by_python(data) == b"hidden"
    with pytest.raises(NotACheckpoint, match="zip64"):
        read_directory(memoryview(data))


def test_a_locator_inside_a_comment_is_refused() -> None:
    head, first = two_directories()
    _, directory = parts(HIDDEN, 0)
    start = len(head) - len(directory)
    head = bytearray(head)
    struct.pack_into("<H", head, start + 32, len(locator(0)))
    size = len(directory) + len(locator(0))
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, size, start, 0)
    data = bytes(head) + locator(first) + end
    assert read_by_python(data) == b"hidden"
    with pytest.raises(NotACheckpoint, match="zip64"):
        read_directory(memoryview(data))


@pytest.mark.parametrize("front", [b"#!/bin/sh\n", saved({}, legacy=True)], ids=["text", "torch"])
@pytest.mark.parametrize("zip64", [False, True])
def test_a_zip_behind_something_is_seen_as_python_sees_it(front: bytes, zip64: bool) -> None:
    archive = zip_of({"data": b"hidden"}, zip64=zip64)
    assert read_by_python(front + archive) == b"hidden"
    assert ends_as_zip(memoryview(front + archive))
    assert ends_as_zip(memoryview(front + zip_of({})))


def test_bytes_that_only_look_like_an_end_are_no_zip() -> None:
    """Weights are random bytes."""
    assert not ends_as_zip(memoryview(b"x" * 99 + b"PK\5\6" + b"\1" * 18))
    assert not ends_as_zip(memoryview(b""))
