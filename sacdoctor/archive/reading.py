"""Zip archives read in place: members as slices of the file, with every byte position known.

The standard library's `zipfile` hides where a member's bytes, checksums and records stand, and
copies what it reads. A checkpoint is read where it lies, and a repair changes single bytes in it,
so both need those positions. Format: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from msgspec import Struct

from sacdoctor.archive.checksums import joined
from sacdoctor.archive.zip_end import Directory, read_directory
from sacdoctor.errors import (
    CheckpointError,
    CorruptCheckpoint,
    UnsupportedCheckpoint,
)
from sacdoctor.files import crc32, fetch_ahead, fetched, pin

STORED, DEFLATED = 0, 8

EXPANSION_FLOOR = 64 * 1024**2
"""Bytes that deflated members of one file may always expand to, all together."""
EXPANSION_RATIO = 20
"""Beyond the floor: how often the file's own size. Network weights deflate to about 0.9 of their
size and never below a twentieth, unless they are constant."""

WORTH_JOINING = 1024**2
"""Bytes from which joining two checksums takes less time than reading once more."""

CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
LOCAL = struct.Struct("<4sHHHHHIIIHH")
_DEFLATED_START = 4096
"""Bytes of a deflated member that are read to see how it starts, if fewer are wanted."""
_ENCRYPTED, _UTF8 = 0x1, 0x800
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075


class Member(Struct, frozen=True):
    """One file in the archive; positions count from the archive's first byte."""

    name: str
    method: int
    flags: int
    crc: int
    compressed_size: int
    size: int
    header_offset: int
    data_offset: int
    central_offset: int

    @property
    def end(self) -> int:
        """Position after the last byte of the member's data."""
        return self.data_offset + self.compressed_size


class Budget(Struct):
    """How many more bytes the deflated members of one file may expand to."""

    left: int

    @classmethod
    def of(cls, file_size: int, floor: int = EXPANSION_FLOOR) -> Budget:
        return cls(max(floor, EXPANSION_RATIO * file_size))

    def spend(self, member: Member) -> None:
        if member.size > self.left:
            raise UnsupportedCheckpoint(
                f"member {member.name!r} would expand from {member.compressed_size:,} to "
                f"{member.size:,} bytes, more than is allowed; if you trust the file, save it "
                "again without compression"
            )
        self.left -= member.size


class Archive(Mapping[str, Member]):
    """A zip archive over `buffer`, its members in the order of the central directory.

    `position` is where the archive starts in the file on disk, or None if it was expanded from a
    deflated member and therefore stands nowhere on disk as it is.

    Raises `CorruptCheckpoint` where the directory and the bytes disagree, where members overlap,
    share a name or have one that readers take differently; `UnsupportedCheckpoint` for
    encryption, several disks and compression methods that SB3 does not write.
    """

    def __init__(self, buffer: memoryview, *, position: int | None, budget: Budget) -> None:
        self.buffer = buffer
        self.position = position
        self.budget = budget
        self._members: dict[str, Member] = {}
        self._checked: dict[str, memoryview] = {}
        self._nested: dict[str, Archive] = {}
        self.directory = read_directory(buffer)
        for member in _members(buffer, self.directory):
            if member.name in self._members:
                raise CorruptCheckpoint(
                    f"two members are named {member.name!r}; SB3 would load one all the same"
                )
            self._members[member.name] = member
        _refuse_overlaps(self._members.values())

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def read(self, name: str) -> memoryview:
        """Return the member's bytes after checking its CRC-32, ready to be looked at."""
        return fetched(self.view(name))

    def view(self, name: str) -> memoryview:
        """Return the member's bytes after checking its CRC-32, where they stand.

        Stored ones are not copied. Those of a large file have to be `fetched` (`files.held`).
        """
        if name not in self._checked:
            self._checked[name] = self._check(self._members[name])
        return self._checked[name]

    def unchecked(self, name: str) -> memoryview:
        """Return a stored member's bytes where they stand, to be `fetched`; others as `view`."""
        member = self._members[name]
        if member.method != STORED:
            return self.view(name)
        return self.buffer[member.data_offset : member.end]

    def start_of(self, name: str, count: int) -> bytes:
        """Return the member's first `count` bytes, unchecked; fewer where it has fewer."""
        member = self._members[name]
        data = self.buffer[member.data_offset : member.end]
        if member.method == STORED:
            return bytes(fetched(data[:count]))
        # What deflates best still takes a thousandth.
        start = fetched(data[: max(count, _DEFLATED_START)])
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, count)
        except zlib.error:
            return b""

    def nested(self, name: str) -> Archive:
        """Return the archive that the member holds, after checking its bytes as `read` does.

        It is kept, and with it what was checked. The checksum of a stored member is joined from
        those of the large members inside it, so that their bytes are read once.
        """
        if name not in self._nested:
            self._nested[name] = self._opened(name)
        return self._nested[name]

    def _opened(self, name: str) -> Archive:
        member = self._members[name]
        joins = member.method == STORED and member.size >= WORTH_JOINING
        data = self.buffer[member.data_offset : member.end] if joins else self.view(name)
        try:
            inner = Archive(data, position=self.position_of(name), budget=self.budget)
            sound = not joins or inner._checksum() == member.crc
        except CheckpointError:
            self.view(name)  # a damaged member is called damaged, wherever that shows first
            raise
        if not sound:
            self.view(name)
        self._checked[name] = data
        return inner

    def position_of(self, name: str) -> int | None:
        """Return where the member's bytes start on disk, None if they are not there as read."""
        member = self._members[name]
        if self.position is None or member.method != STORED:
            return None
        return self.position + member.data_offset

    def _checksum(self) -> int:
        """Return the CRC-32 of the archive itself, checking its large stored members on the way."""
        crc = at = 0
        for member in sorted(self.values(), key=lambda member: member.data_offset):
            if member.method == STORED and member.size >= WORTH_JOINING:
                crc = crc32(self.buffer[at : member.data_offset], crc)
                self.view(member.name)
                crc = joined(crc, member.crc, member.size)
                at = member.end
        return crc32(self.buffer[at:], crc)

    def _check(self, member: Member) -> memoryview:
        data = self.buffer[member.data_offset : member.end]
        if member.method == DEFLATED:
            self.budget.spend(member)
            data = memoryview(_inflated(member, fetched(data)))
        if crc32(data) != member.crc:
            raise CorruptCheckpoint(
                f"member {member.name!r} does not match its CRC-32: the file was damaged after "
                "it was written"
            )
        return data


def _inflated(member: Member, data: memoryview) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        out = inflate.decompress(data, member.size + 1)
    except zlib.error as error:
        raise CorruptCheckpoint(f"member {member.name!r} cannot be inflated: {error}") from None
    if len(out) != member.size or not inflate.eof:
        raise CorruptCheckpoint(
            f"member {member.name!r} does not expand to the {member.size:,} bytes it claims"
        )
    return out


def _members(buffer: memoryview, directory: Directory) -> Iterator[Member]:
    start, size, count = directory.start, directory.size, directory.count
    if count * CENTRAL.size > size:
        raise CorruptCheckpoint(f"the zip directory is too short for its {count:,} members")
    at = start
    pin(buffer[start : start + size])
    fetch_ahead(buffer, _local_headers(buffer[start : start + size]))
    for _ in range(count):
        if at + CENTRAL.size > start + size:
            raise CorruptCheckpoint("the zip directory ends inside a record")
        fields = CENTRAL.unpack_from(buffer, at)
        signature, _, _, flags, method, _, _, crc, compressed, full = fields[:10]
        name_size, extra_size, comment_size, disk, _, _, offset = fields[10:]
        if signature != b"PK\x01\x02":
            raise CorruptCheckpoint("the zip directory holds something that is not a record")
        name_at = at + CENTRAL.size
        extra_at = name_at + name_size
        following = extra_at + extra_size + comment_size
        if following > start + size:
            raise CorruptCheckpoint("the zip directory ends inside a record")
        raw_name = bytes(buffer[name_at:extra_at])
        name = _name(raw_name, flags)
        extra = _extra_fields(name, bytes(buffer[extra_at : extra_at + extra_size]))
        _refuse_other_name(name, extra)
        full, compressed, offset = _zip64(name, extra, full, compressed, offset)
        if flags & _ENCRYPTED:
            raise UnsupportedCheckpoint(f"member {name!r} is encrypted")
        if disk not in (0, 0xFFFF):
            raise UnsupportedCheckpoint("the archive spans several disks")
        if method not in (STORED, DEFLATED):
            raise UnsupportedCheckpoint(
                f"member {name!r} uses zip compression method {method}; only stored (0) and "
                "deflated (8) are read here, while SB3 may load others"
            )
        if method == STORED and compressed != full:
            raise CorruptCheckpoint(f"member {name!r} is stored, yet claims two different sizes")
        data_at = _data_offset(buffer, name, raw_name, offset, start)
        if data_at + compressed > start:
            raise CorruptCheckpoint(f"member {name!r} runs past the end of the archive")
        yield Member(name, method, flags, crc, compressed, full, offset, data_at, at)
        at = following
    if at != start + size:
        raise CorruptCheckpoint(f"the zip directory holds more than its {count:,} members")


def _local_headers(directory: memoryview) -> Iterator[tuple[int, int]]:
    """Yield where the members' local headers start, and how long they are with their names."""
    at = 0
    while at + CENTRAL.size <= len(directory):
        fields = CENTRAL.unpack_from(directory, at)
        yield fields[16], LOCAL.size + fields[10]
        at += CENTRAL.size + sum(fields[10:13])


def _extra_fields(name: str, extra: bytes) -> list[tuple[int, bytes]]:
    """Return the extra fields of a directory record: the kind of each and its bytes."""
    fields: list[tuple[int, bytes]] = []
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        at += 4 + size
        if at > len(extra):
            raise CorruptCheckpoint(f"an extra field of member {name!r} runs past its record")
        fields.append((kind, extra[at - size : at]))
    return fields


def _refuse_other_name(name: str, extra: Iterable[tuple[int, bytes]]) -> None:
    """Raise `CorruptCheckpoint` where a reader may know the member by another name.

    Python cuts a name at a NUL, and from 3.13 on takes Info-ZIP's Unicode path in its place.
    """
    if "\0" in name:
        raise CorruptCheckpoint(f"the name of member {name!r} goes on behind a NUL")
    for kind, field in extra:
        if kind == _UNICODE_PATH and field[5:] != name.encode():  # behind a version and a CRC-32
            raise CorruptCheckpoint(f"member {name!r} has another name in its extra field")


def _zip64(
    name: str, extra: Iterable[tuple[int, bytes]], full: int, compressed: int, offset: int
) -> tuple[int, int, int]:
    """Return the three values, those at their 32-bit maximum replaced from the zip64 field.

    Of two such fields torch takes the first, `zipfile` takes values from both.
    """
    fields = [field for kind, field in extra if kind == _ZIP64]
    if len(fields) > 1:
        raise CorruptCheckpoint(
            f"member {name!r} has {len(fields)} zip64 fields, which readers take in two ways"
        )
    wanted = [value == 0xFFFFFFFF for value in (full, compressed, offset)]
    if not any(wanted):
        return full, compressed, offset
    field = fields[0] if fields else b""
    if len(field) < 8 * sum(wanted):
        raise CorruptCheckpoint(f"member {name!r} lacks its zip64 sizes")
    values = iter(struct.unpack_from(f"<{sum(wanted)}Q", field))
    return (
        next(values) if wanted[0] else full,
        next(values) if wanted[1] else compressed,
        next(values) if wanted[2] else offset,
    )


def _data_offset(buffer: memoryview, name: str, raw_name: bytes, offset: int, limit: int) -> int:
    """Return where the member's data starts, from its local header at `offset`."""
    if offset + LOCAL.size > limit:
        raise CorruptCheckpoint(f"member {name!r} starts past the end of the archive")
    header = fetched(buffer[offset : offset + LOCAL.size + len(raw_name)])
    fields = LOCAL.unpack_from(header)
    name_size, extra_size = fields[-2:]
    name_at = offset + LOCAL.size
    if fields[0] != b"PK\x03\x04" or name_size != len(raw_name) or header[LOCAL.size :] != raw_name:
        raise CorruptCheckpoint(f"member {name!r} is not where the zip directory says")
    return int(name_at + name_size + extra_size)


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise CorruptCheckpoint(f"a member's name is not UTF-8: {raw[:40]!r}") from None


def _refuse_overlaps(members: Iterable[Member]) -> None:
    spans = sorted((m.header_offset, m.end, m.name) for m in members)
    for (_, end, name), (start, _, other) in pairwise(spans):
        if start < end:
            raise CorruptCheckpoint(f"members {name!r} and {other!r} overlap")
