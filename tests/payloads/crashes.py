"""Programs that end the process of whoever loads them, by what numpy believes a state of."""

from __future__ import annotations

from tests.payloads.assembly import (
    EMPTY,
    FALSE,
    NONE,
    TRUE,
    build,
    call,
    data,
    dict_,
    name,
    number,
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


CRASHES: dict[str, bytes] = {
    "objects without their flag": _list(_array(_flagged("O8", 0), b"\x41" * 64)),
    "an array at an address": _list(
        call(
            name("numpy", "float64"),
            at_an_address(name("types", "SimpleNamespace") + EMPTY + b"R"),
        )
    ),
}
"""By what they lie about."""
