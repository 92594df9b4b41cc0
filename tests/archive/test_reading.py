"""Names on which zip readers disagree: what one of them could load is never passed over."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pytest

from sacdoctor.archive.reading import Archive, Budget
from sacdoctor.errors import CorruptCheckpoint
from tests.archives import Entry, raw_zip


def opened(data: bytes) -> Archive:
    return Archive(memoryview(data), position=0, budget=Budget.of(len(data)))


def unicode_path(header: str, other: str) -> bytes:
    """Info-ZIP's extra field for the name in UTF-8 (APPNOTE.TXT 4.6.9)."""
    name = other.encode()
    return struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(header.encode())) + name


def test_a_name_that_goes_on_behind_a_nul_is_refused() -> None:
    """Python cuts it there, so that SB3 finds a second `data`."""
    data = raw_zip([Entry("data", b"{}"), Entry("data\0junk", b"[]")])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["data", "data"]
    with pytest.raises(CorruptCheckpoint, match="NUL"):
        opened(data)


def test_another_name_in_the_extra_field_is_refused() -> None:
    """Python takes it from 3.13 on."""
    entry = Entry("readme", b"[]", extra=unicode_path("readme", "data"))
    with pytest.raises(CorruptCheckpoint, match="'readme' has another name"):
        opened(raw_zip([Entry("data", b"{}"), entry]))


def test_the_same_name_in_the_extra_field_is_taken() -> None:
    entry = Entry("data", b"{}", extra=unicode_path("data", "data"))
    assert bytes(opened(raw_zip([entry])).read("data")) == b"{}"


def test_an_extra_field_that_runs_past_its_record_is_refused() -> None:
    with pytest.raises(CorruptCheckpoint, match="extra field of member 'data'"):
        opened(raw_zip([Entry("data", b"{}", extra=struct.pack("<HH", 0x7075, 9))]))
