"""Pickle programs by hand: each function returns the opcodes that leave one value on the stack.

Opcodes: CPython's Lib/pickletools.py. A program has neither a protocol nor a stop at its end, so
that it can stand inside any other; `whole` adds both.
"""

from __future__ import annotations

import struct

NONE, TRUE, FALSE, EMPTY = b"N", b"\x88", b"\x89", b")"
POP = b"0"


def whole(program: bytes, protocol: int = 4) -> bytes:
    """Return a program as a pickle."""
    return b"\x80" + bytes([protocol]) + program + b"."


def program_of(pickle: bytes) -> bytes:
    """Return the program of a pickle of protocol 3, which has no frames."""
    assert pickle.startswith(b"\x80\x03")
    assert pickle.endswith(b".")
    return pickle[2:-1]


def name(module: str, qualname: str) -> bytes:
    """A name, which may be a path: protocol 4 looks it up part by part."""
    return text(module) + text(qualname) + b"\x93"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def growing(value: bytes) -> bytes:
    """A bytearray."""
    return b"\x96" + struct.pack("<Q", len(value)) + value


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def numbers(*values: int) -> bytes:
    return tuple_(*map(number, values))


def tuple_(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def list_(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def dict_(**items: bytes) -> bytes:
    return pairs(*((text(key), value) for key, value in items.items()))


def pairs(*items: tuple[bytes, bytes]) -> bytes:
    return b"}(" + b"".join(key + value for key, value in items) + b"u"


def call(function: bytes, *args: bytes) -> bytes:
    return function + tuple_(*args) + b"R"


def new(cls: bytes, *args: bytes, **kwargs: bytes) -> bytes:
    """An object by its class's `__new__`."""
    if kwargs:
        return cls + tuple_(*args) + dict_(**kwargs) + b"\x92"
    return cls + tuple_(*args) + b"\x81"


def build(thing: bytes, state: bytes) -> bytes:
    return thing + state + b"b"


def slots(**attributes: bytes) -> bytes:
    """A state whose parts Python sets one by one as attributes, on whatever it is."""
    return tuple_(NONE, dict_(**attributes))


def keep(thing: bytes, slot: int) -> bytes:
    """Leave a thing on the stack, and in the memo."""
    return thing + b"r" + struct.pack("<I", slot)


def aside(thing: bytes, slot: int) -> bytes:
    """Put a thing into the memo alone."""
    return keep(thing, slot) + POP


def kept(slot: int) -> bytes:
    return b"j" + struct.pack("<I", slot)


def persistent(identity: bytes) -> bytes:
    return identity + b"Q"


def attribute(thing: bytes, path: str) -> bytes:
    return call(name("builtins", "getattr"), thing, text(path))
