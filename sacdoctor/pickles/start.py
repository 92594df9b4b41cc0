"""The bytes that a pickle begins with."""

from __future__ import annotations


def is_pickle(start: bytes) -> bool:
    """Return whether bytes begin as a pickle of protocol 2 to 5 does."""
    return start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
