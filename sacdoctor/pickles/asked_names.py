"""The names of classes and functions that a pickle asks for, and others put in their place.

All else stays byte for byte; what a frame announces is the length that it has then.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import Struct, field

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint

GlobalName = tuple[str, str]
"""A module, and the dotted name of what is looked up in it."""

_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")
_KEEPS = ("PUT", "BINPUT", "LONG_BINPUT")
_RECALLS = ("GET", "BINGET", "LONG_BINGET")
_NAMES = ("GLOBAL", "INST")
_FRAME_HEAD = 9
"""Bytes of the opcode that announces a frame."""


class _Opcode(NamedTuple):
    name: str
    argument: Any
    start: int
    end: int


class _Uses(Struct):
    """Which texts of a pickle are names: `looked_up` has, for each name, its two texts.

    `texts` are the opcodes that push a text, by where they start. `as_data` are those that are
    used otherwise. `in_line` are the opcodes that hold a name themselves.
    """

    texts: dict[int, _Opcode] = field(default_factory=dict)
    looked_up: list[tuple[int, int]] = field(default_factory=list)
    in_line: list[_Opcode] = field(default_factory=list)
    as_data: set[int] = field(default_factory=set)
    frames: list[_Opcode] = field(default_factory=list)


def global_names(pickle: bytes) -> frozenset[GlobalName]:
    """Return every name that the pickle asks for.

    Raises `CorruptCheckpoint` where it cannot be read, and `UnsupportedCheckpoint` where a name is
    put together otherwise than picklers do.
    """
    uses = _uses(pickle)
    found = {_in_line(opcode) for opcode in uses.in_line}
    found |= {(_text(uses, module), _text(uses, name)) for module, name in uses.looked_up}
    return frozenset(found)


def with_global_names(pickle: bytes, names: Mapping[GlobalName, GlobalName]) -> bytes:
    """Return the pickle asking for other `names` where it asked for those that are keys.

    Raises as `global_names` does, and `UnsupportedCheckpoint` where one text is both a name that
    changes and something else.
    """
    uses = _uses(pickle)
    texts: dict[int, str] = {}
    for module, name in uses.looked_up:
        asked = _text(uses, module), _text(uses, name)
        for at, old, new in zip((module, name), asked, names.get(asked, asked), strict=True):
            is_shared = old != new and at in uses.as_data
            if is_shared or texts.setdefault(at, new) != new:
                raise UnsupportedCheckpoint(f"the text {old!r} in its pickle is more than a name")
    changes: dict[tuple[int, int], bytes] = {}
    for at, new in texts.items():
        opcode = uses.texts[at]
        if opcode.argument != new:
            changes[opcode.start, opcode.end] = _pushing(opcode.name, new)
    for opcode in uses.in_line:
        asked = _in_line(opcode)
        if asked in names:
            line = "\n".join((*names[asked], "")).encode()
            changes[opcode.start, opcode.end] = pickle[opcode.start : opcode.start + 1] + line
    return _changed(pickle, changes, uses.frames)


def _changed(pickle: bytes, changes: dict[tuple[int, int], bytes], frames: list[_Opcode]) -> bytes:
    for frame in frames:
        until = frame.end + frame.argument
        grown = sum(
            len(new) - (end - start)
            for (start, end), new in changes.items()
            if frame.end <= start < until
        )
        if grown:
            head = pickle[frame.start : frame.start + 1]
            changes[frame.start, frame.end] = head + struct.pack("<Q", frame.argument + grown)
    pieces, at = [], 0
    for (start, end), new in sorted(changes.items()):
        pieces += [pickle[at:start], new]
        at = end
    return b"".join([*pieces, pickle[at:]])


def _pushing(opcode: str, text: str) -> bytes:
    """Return the opcode that pushes the text, of the kind that stood there where it can be."""
    data = text.encode("utf-8", "surrogatepass")
    if opcode == "SHORT_BINUNICODE" and len(data) < 256:
        return b"\x8c" + bytes([len(data)]) + data
    if opcode == "BINUNICODE8":
        return b"\x8d" + struct.pack("<Q", len(data)) + data
    if opcode == "UNICODE":
        return b"V" + text.encode("raw-unicode-escape") + b"\n"
    return b"X" + struct.pack("<I", len(data)) + data


def _uses(pickle: bytes) -> _Uses:
    """Follow the texts on the top of the stack and in the memo to the opcodes that take them."""
    uses = _Uses()
    memo: dict[int, int | None] = {}
    top: list[int | None] = []
    """The values that were pushed last, at most two: where the text was pushed, None for others."""

    def push(value: int | None) -> None:
        top.append(value)
        if len(top) > 2:
            lose(top.pop(0))

    def lose(value: int | None) -> None:
        if value is not None:
            uses.as_data.add(value)

    for opcode in _opcodes(pickle):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            if name == "FRAME":
                uses.frames.append(opcode)
        elif name in _TEXTS:
            uses.texts[opcode.start] = opcode
            push(opcode.start)
        elif name == "MEMOIZE":
            memo[len(memo)] = top[-1] if top else None
        elif name in _KEEPS:
            memo[opcode.argument] = top[-1] if top else None
        elif name in _RECALLS:
            push(memo.get(opcode.argument))
        elif name == "STACK_GLOBAL":
            *_, module, qualname = (None, None, *top)
            if module is None or qualname is None:
                raise UnsupportedCheckpoint("its pickle puts a name together")
            uses.looked_up.append((module, qualname))
            top[:] = [None]
        else:
            if name in _NAMES:
                uses.in_line.append(opcode)
            for value in top:
                lose(value)
            top[:] = [None]
    return uses


def _opcodes(pickle: bytes) -> Iterator[_Opcode]:
    """Yield the opcodes of the first pickle in these bytes, each with where it starts and ends."""
    import pickletools  # ten thousand lines of words on opcodes, which a scan has no use for

    before: tuple[str, Any, int] | None = None
    try:
        for opcode, argument, at in pickletools.genops(pickle):
            assert at is not None
            if before is not None:
                yield _Opcode(*before, at)
            before = opcode.name, argument, at
    except (ValueError, OverflowError) as error:
        raise CorruptCheckpoint(f"its pickle cannot be read: {error}") from None
    if before is not None:
        yield _Opcode(*before, before[2] + 1)  # STOP


def _text(uses: _Uses, at: int) -> str:
    return str(uses.texts[at].argument)


def _in_line(opcode: _Opcode) -> GlobalName:
    """Return the name in an opcode's two lines, which `pickletools` joins with a space."""
    module, _, name = str(opcode.argument).partition(" ")
    return module, name
