"""Pickle programs that have no end, or none that anybody can wait for, by their kind."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from tests.payloads.assembly import (
    EMPTY,
    FALSE,
    NONE,
    TRUE,
    aside,
    call,
    data,
    kept,
    name,
    number,
    numbers,
    pairs,
    text,
    tuple_,
)
from tests.payloads.crashes import CRASHES

SIZE = 650_000
"""Bytes of a pickle, so that it stays below a megabyte in base64, too."""

OPCODES: dict[str, Callable[[int], bytes]] = {
    "lists": lambda size: b"]" * size,
    "marks": lambda size: b"(" * size,
    "dicts": lambda size: b"}" * size,
    "copies": lambda size: b"]" + b"2" * size,
    "kept": lambda size: b"]" + b"\x94" * size,
    "lists-kept": lambda size: b"]\x94" * (size // 2),
    "recalled": lambda size: b"]q\0" + b"h\0" * (size // 2),
    "tuples-in-tuples": lambda size: b"]" + b"\x85" * size,
    "items-set": lambda size: b"}" + b"K\1K\1s" * (size // 5),
    "texts": lambda size: b"\x8c\1a" * (size // 3),
}
"""What a bomb is made of, by its size in bytes."""
FURTHER: dict[str, Callable[[int], bytes]] = {
    "bytes": lambda size: b"C\1a" * (size // 3),
    "numbers-in-lines": lambda size: b"I7\n" * (size // 3),
    "calls": lambda size: b"ccollections\nOrderedDict\nq\0" + b"h\0)R" * (size // 4),
    "slots": lambda size: b"".join(b"Nr%b" % n.to_bytes(4, "little") for n in range(size // 6)),
    "keys": lambda size: (
        b"}(" + b"".join(b"J%bN" % n.to_bytes(4, "little") for n in range(size // 6)) + b"u"
    ),
}
"""Those that are tried in one file alone; the last two do not deflate to nothing."""


def doubled(step: bytes, base: bytes = EMPTY, times: int = 60) -> bytes:
    """A thing that holds the one before twice, and so on: a walk of it has no end."""
    program = aside(base, 1)
    for slot in range(1, times):
        program += aside(kept(slot) + kept(slot) + step, slot + 1)
    return program + kept(times)


def repeated(step: bytes, before: bytes = b"") -> bytes:
    return before + step * ((SIZE - len(before)) // len(step))


_DTYPE = call(name("numpy", "dtype"), text("O8"), FALSE, TRUE)
_LONG = tuple_(*[NONE] * 20_000)
PROGRAMS: Mapping[str, Callable[[], bytes]] = {
    **{kind: (lambda f=fill: f(SIZE)) for kind, fill in {**OPCODES, **FURTHER}.items()},
    "tuples-of-two-in-tuples": lambda: doubled(b"\x86"),
    "tuples-of-two-as-a-key": lambda: b"}" + doubled(b"\x86") + NONE + b"s",
    "tuples-of-two-in-a-set": lambda: b"\x8f(" + doubled(b"\x86") + b"\x90",
    "lists-of-two-in-lists": lambda: doubled(b"\x86", b"]"),
    "a-long-tuple-in-many-lists": lambda: aside(_LONG, 1) + b"](" + kept(1) * 60_000 + b"e",
    "a-long-tuple-as-many-keys": lambda: aside(_LONG, 1) + b"}" + (kept(1) + b"Ns") * 60_000,
    "a-long-tuple-given-often": lambda: (
        aside(_LONG, 1)
        + aside(name("collections", "deque"), 2)
        + (kept(2) + kept(1) + b"\x85R0") * 40_000
        + NONE
    ),
    "a-long-list-given-often": lambda: (
        aside(b"](" + NONE * 20_000 + b"e", 1)
        + aside(name("builtins", "list"), 2)
        + (kept(2) + kept(1) + b"\x85R0") * 40_000
        + NONE
    ),
    "arrays-without-end": lambda: call(
        name("numpy._core.numeric", "_frombuffer"),
        data(b""),
        call(name("numpy", "dtype"), text("f8"), FALSE, TRUE),
        numbers(0, 2**62, 2**62),
        text("C"),
    ),
    "objects-without-end": lambda: (
        call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), numbers(0))
        + tuple_(number(1), numbers(2**40), _DTYPE, FALSE, b"]")
        + b"b"
    ),
    "a-text-of-numpy": lambda: call(
        name("numpy._core.multiarray", "scalar"),
        call(name("numpy", "dtype"), text("U999999"), FALSE, TRUE),
        data(b"x"),
    ),
    "names-of-many-parts": lambda: repeated(name("a", "b." * 500 + "c") + b"0") + NONE,
    "names-that-differ": lambda: (
        b"".join(name("m", f"n{n}") + b"0" for n in range(SIZE // 24)) + NONE
    ),
    "attributes-of-attributes": lambda: (
        aside(name("builtins", "getattr"), 1)
        + kept(1) * 20_000
        + name("numpy", "dtype")
        + (text("a") + b"\x86R") * 20_000
    ),
    "partial-calls-of-partial-calls": lambda: (
        aside(name("functools", "partial"), 1)
        + kept(1) * 40_000
        + name("builtins", "float")
        + b"\x85R" * 40_000
    ),
    "classes-by-the-thousand": lambda: (
        repeated(
            kept(1) + kept(2) + b"R0",
            aside(name("cloudpickle.cloudpickle", "_make_skeleton_class"), 1)
            + aside(tuple_(name("builtins", "type"), text("X"), EMPTY, b"}", NONE, NONE), 2),
        )
        + NONE
    ),
    "states-by-the-thousand": lambda: (
        repeated(
            kept(1) + kept(2) + b"b0",
            aside(name("gymnasium.spaces.box", "Box") + EMPTY + b"\x81", 1)
            + aside(pairs((text("low"), NONE)), 2),
        )
        + NONE
    ),
    "code-by-the-thousand": lambda: (
        repeated(
            kept(1) + kept(2) + b"R0",
            aside(name("types", "CodeType"), 1)
            + aside(
                tuple_(
                    *map(number, (1, 0, 0, 1, 64, 3)),
                    data(b"\x97\0" + b"|\0\x01\0" * 1000 + b"|\0S\0"),
                    tuple_(NONE),
                    EMPTY,
                    tuple_(text("p")),
                    *map(text, ("f", "f", "f")),
                    number(1),
                    data(b""),
                    data(b""),
                    EMPTY,
                    EMPTY,
                ),
                2,
            ),
        )
        + NONE
    ),
    **{kind: (lambda p=program: p) for kind, program in CRASHES.items() if len(program) < SIZE},
    "a-number-of-many-digits": lambda: b"\x8b" + struct.pack("<I", SIZE) + b"\x7f" * SIZE,
    "a-number-in-a-line": lambda: b"I" + b"9" * SIZE + b"\n",
    "a-text-in-escapes": lambda: b"V" + b"\\u0041" * (SIZE // 6) + b"\n",
    "slots-far-apart": lambda: (
        b"".join(b"Nr%b0" % struct.pack("<I", n * 40_000) for n in range(60_000)) + NONE
    ),
}
