"""Checksums joined from parts are those that zlib finds in the whole."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from sacdoctor.archive.checksums import carried, joined


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_two_byte_strings_in_a_row(first: bytes, second: bytes) -> None:
    whole = joined(zlib.crc32(first), zlib.crc32(second), len(second))
    assert whole == zlib.crc32(first + second)


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=40), st.binary(max_size=300))
def test_a_change_before_other_bytes(start: bytes, old: bytes, tail: bytes) -> None:
    new = bytes(255 - byte for byte in old)
    difference = zlib.crc32(start + old) ^ zlib.crc32(start + new)
    changed = zlib.crc32(start + old + tail) ^ carried(difference, len(tail))
    assert changed == zlib.crc32(start + new + tail)


def test_a_tail_of_gigabytes_by_way_of_smaller_ones() -> None:
    crc, piece = zlib.crc32(b"start"), bytes(1 << 20)
    for _ in range(5):
        crc = zlib.crc32(piece, crc)
    assert joined(zlib.crc32(b"start"), zlib.crc32(bytes(5 << 20)), 5 << 20) == crc
    # 6 GiB at once, or in two halves of 3 GiB: multiplication does not care.
    assert carried(crc, 6 << 30) == carried(carried(crc, 3 << 30), 3 << 30)
