"""Archives written anew with some members' content replaced and every other byte as it was.

Order, names, dates, compression, alignment, comments and whatever stands between members are
copied. Sizes and offsets change only where a replaced member has another size than before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct

from sacdoctor.archive.checksums import carried
from sacdoctor.archive.reading import (
    CENTRAL,
    DEFLATED,
    LOCAL,
    STORED,
    WORTH_JOINING,
    Archive,
    Member,
)
from sacdoctor.archive.zip_end import END, END64, END64_LOCATOR
from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.files import crc32, fetched

Pieces = Sequence[bytes | memoryview]
"""Bytes in parts, so that large tensors that do not change are never copied in memory."""

_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_HAS_DESCRIPTOR = 0x8
_UTF8 = 0x800
_DOS_EPOCH = 0x21
"""1980-01-01, the first date a zip can hold: the same input must give the same bytes."""


class _Fields(Struct, frozen=True):
    """What the records about a member say, once it is rewritten."""

    crc: int
    compressed_size: int
    size: int
    offset: int


def size_of(pieces: Iterable[bytes | memoryview]) -> int:
    """Return how many bytes the pieces have together."""
    return sum(len(piece) for piece in pieces)


def rewrite(
    archive: Archive, replaced: Mapping[str, Pieces], added: Mapping[str, bytes] | None = None
) -> Pieces:
    """Return the bytes of `archive` with the content of the `replaced` members exchanged.

    `added` members go to the end, uncompressed. Raises `UnsupportedCheckpoint` where the result
    would need 64-bit fields that the archive does not have.
    """
    buffer, directory = archive.buffer, archive.directory
    fields: dict[str, _Fields] = {}
    out: list[bytes | memoryview] = []
    at = written = 0
    members = sorted(archive.values(), key=lambda member: member.header_offset)
    starts = [member.header_offset for member in members[1:]] + [directory.start]
    for member, following in zip(members, starts, strict=True):
        gap = buffer[at : member.header_offset]
        offset = written + len(gap)
        record: Pieces
        if member.name in replaced:
            record, fields[member.name] = _replaced(
                buffer, member, following, replaced[member.name], offset
            )
        else:
            record = [buffer[member.header_offset : following]]
            fields[member.name] = _Fields(member.crc, member.compressed_size, member.size, offset)
        out += [gap, *record]
        written = offset + size_of(record)
        at = following
    records: list[bytes] = [
        _central(buffer, member, fields[member.name]) for member in archive.values()
    ]
    for name, content in (added or {}).items():
        header, record_of_new = _new_member(name, content, written)
        out += [header, content]
        records.append(record_of_new)
        written += len(header) + len(content)
    out += records
    out.append(_end(buffer, archive, written, size_of(records), len(records)))
    return out


def _replaced(
    buffer: memoryview, member: Member, following: int, content: Pieces, offset: int
) -> tuple[Pieces, _Fields]:
    """Return local header, data and data descriptor of a member with new content."""
    size = size_of(content)
    crc = 0
    if member.method == STORED and size == member.size >= WORTH_JOINING:
        crc = _crc_after_changes(buffer[member.data_offset : member.end], member.crc, content)
    else:
        for piece in content:
            crc = crc32(memoryview(piece), crc)
    data = content
    if member.method == DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = [deflate.compress(fetched(memoryview(piece))) for piece in content]
        data.append(deflate.flush())
    fields = _Fields(crc, size_of(data), size, offset)
    header = bytearray(fetched(buffer[member.header_offset : member.data_offset]))
    _patch_local(header, member, fields)
    tail = bytearray(fetched(buffer[member.end : following]))
    if member.flags & _HAS_DESCRIPTOR:
        _patch_descriptor(tail, member, fields)
    return [bytes(header), *data, bytes(tail)], fields


def _crc_after_changes(old: memoryview, crc: int, content: Pieces) -> int:
    """Return the CRC-32 of `content`, which takes the place of as many `old` bytes.

    Pieces that still are the old bytes, at the same place, are not read again.
    """
    at = 0
    for piece in content:
        end = at + len(piece)
        replaced = old[at:end]
        if not _is_same_memory(piece, replaced):
            changed = crc32(memoryview(piece)) ^ crc32(replaced)
            crc ^= carried(changed, len(old) - end)
        at = end
    return crc


def _is_same_memory(piece: bytes | memoryview, other: memoryview) -> bool:
    if len(piece) == 0:
        return True
    return _address(piece) == _address(other)


def _address(data: bytes | memoryview) -> int:
    return int(np.frombuffer(data, np.uint8).__array_interface__["data"][0])


def _patch_local(header: bytearray, member: Member, fields: _Fields) -> None:
    values = list(LOCAL.unpack_from(header))
    crc, compressed, size, name_size = values[6:10]
    if not member.flags & _HAS_DESCRIPTOR or crc == member.crc:
        values[6] = fields.crc
    extra_at = LOCAL.size + name_size
    # With a descriptor the header may leave its sizes at 0; then they stay so.
    zeros_stay = bool(member.flags & _HAS_DESCRIPTOR)
    sizes = [(size, fields.size), (compressed, fields.compressed_size)]
    wide = [new for old, new in sizes if old == _MAX32]
    _patch_zip64(header, extra_at, len(header), wide, zeros_stay)
    for index, old, new in ((7, compressed, fields.compressed_size), (8, size, fields.size)):
        if old != _MAX32 and not (zeros_stay and old == 0):
            values[index] = _fits(new)
    LOCAL.pack_into(header, 0, *values)


def _patch_descriptor(tail: bytearray, member: Member, fields: _Fields) -> None:
    at = 4 if tail[:4] == b"PK\x07\x08" else 0
    for form in ("<III", "<IQQ"):
        if len(tail) < at + struct.calcsize(form):
            continue
        if struct.unpack_from(form, tail, at) == (member.crc, member.compressed_size, member.size):
            if form == "<III":
                _fits(fields.compressed_size)
                _fits(fields.size)
            struct.pack_into(form, tail, at, fields.crc, fields.compressed_size, fields.size)
            return


def _central(buffer: memoryview, member: Member, fields: _Fields) -> bytes:
    values = list(CENTRAL.unpack_from(buffer, member.central_offset))
    compressed, size, name_size, extra_size, comment_size = values[8:13]
    offset = values[16]
    length = CENTRAL.size + name_size + extra_size + comment_size
    record = bytearray(buffer[member.central_offset : member.central_offset + length])
    values[7] = fields.crc
    order = (
        (9, size, fields.size),
        (8, compressed, fields.compressed_size),
        (16, offset, fields.offset),
    )
    extra_at = CENTRAL.size + name_size
    wide = [new for _, old, new in order if old == _MAX32]
    _patch_zip64(record, extra_at, extra_at + extra_size, wide)
    for index, old, new in order:
        if old != _MAX32:
            values[index] = _fits(new)
    CENTRAL.pack_into(record, 0, *values)
    return bytes(record)


def _patch_zip64(
    record: bytearray, start: int, end: int, values: list[int], zeros_stay: bool = False
) -> None:
    """Put `values` (size, compressed size, offset: those at their maximum) into the zip64 field."""
    at = start
    while values and at + 4 <= end:
        kind, size = struct.unpack_from("<HH", record, at)
        if kind == 1 and size >= 8 * len(values):
            form = f"<{len(values)}Q"
            if not (zeros_stay and not any(struct.unpack_from(form, record, at + 4))):
                struct.pack_into(form, record, at + 4, *values)
            return
        at += 4 + size


def _new_member(name: str, content: bytes, offset: int) -> tuple[bytes, bytes]:
    """Return local header and central record of a stored member at `offset`."""
    raw, crc, size = name.encode(), zlib.crc32(content), len(content)
    shared = (_UTF8, 0, 0, _DOS_EPOCH, crc, size, size, len(raw), 0)
    local = LOCAL.pack(b"PK\x03\x04", 20, *shared) + raw
    central = CENTRAL.pack(b"PK\x01\x02", 0x0314, 20, *shared, 0, 0, 0, 0o600 << 16, _fits(offset))
    return local, central + raw


def _end(buffer: memoryview, archive: Archive, start: int, size: int, count: int) -> bytes:
    """Return the records that end the archive, with the directory's new place."""
    directory = archive.directory
    if directory.end64 is None:
        tail = bytearray(fetched(buffer[directory.end :]))
        if count >= _MAX16:
            raise UnsupportedCheckpoint("it has more members than its kind of zip can count")
        _patch_end(tail, 0, _fits(start), _fits(size), count)
        return bytes(tail)
    tail = bytearray(fetched(buffer[directory.end64 :]))
    values = list(END64.unpack_from(tail))
    values[6:10] = [count, count, size, start]
    END64.pack_into(tail, 0, *values)
    end_at = directory.end - directory.end64
    locator = list(END64_LOCATOR.unpack_from(tail, end_at - END64_LOCATOR.size))
    locator[2] = start + size
    END64_LOCATOR.pack_into(tail, end_at - END64_LOCATOR.size, *locator)
    _patch_end(tail, end_at, start, size, count)
    return bytes(tail)


def _patch_end(tail: bytearray, at: int, start: int, size: int, count: int) -> None:
    values = list(END.unpack_from(tail, at))
    for index, new in ((3, count), (4, count), (5, size), (6, start)):
        limit = _MAX16 if index < 5 else _MAX32
        if values[index] != limit:  # at its maximum, the zip64 record speaks instead
            values[index] = min(new, limit)
    END.pack_into(tail, at, *values)


def _fits(number: int) -> int:
    if number >= _MAX32:
        raise UnsupportedCheckpoint(
            "the repaired file would pass 4 GiB, and its zip has no 64-bit fields for that"
        )
    return number
