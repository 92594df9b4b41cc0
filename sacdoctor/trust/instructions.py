"""How the Pythons read bytecode: a table for each, of the instructions that code is followed by.

Opcode numbers and inline caches: `opcode.py` of CPython 3.6 to 3.13.
"""

from __future__ import annotations

import sys
from functools import cached_property

from msgspec import Struct


class Version(Struct, frozen=True, eq=False, dict=True):
    """How some Pythons read bytecode: the numbers of the instructions that are followed here.

    `caches` are the units behind an instruction that belong to it, `jump` the bytes that a jump
    counts by, from the start of the code or from the instruction (`is_relative`). The numbers of
    attributes and globals may carry a bit (`shifts_…`). A call takes something, or none, below what
    is called or behind it (`null_follows`). `comparisons` are those that exist. `leaves_dead`: a
    function ends with `return None`, though nothing may lead there. `lacks` are instructions that
    tell the Pythons apart whose code begins in the same way.
    """

    numbers: dict[str, int]
    caches: dict[str, int]
    jump: int = 2
    is_relative: bool = True
    shifts_attributes: bool = False
    shifts_globals: bool = False
    null_follows: bool = False
    comparisons: int = 6
    leaves_dead: bool = False
    lacks: frozenset[int] = frozenset()

    @cached_property
    def instructions(self) -> dict[int, str]:
        return {number: name for name, number in self.numbers.items()}


_OLD_NUMBERS = {
    **{"POP_TOP": 1, "NOP": 9, "RETURN_VALUE": 83, "LOAD_CONST": 100, "LOAD_FAST": 124},
    **{"STORE_FAST": 125, "LOAD_GLOBAL": 116, "LOAD_DEREF": 136, "LOAD_ATTR": 106},
    **{"UNARY_POSITIVE": 10, "UNARY_NEGATIVE": 11, "UNARY_NOT": 12, "BUILD_TUPLE": 102},
    **{"BINARY_POWER": 19, "BINARY_MULTIPLY": 20, "BINARY_MODULO": 22, "BINARY_ADD": 23},
    **{"BINARY_SUBTRACT": 24, "BINARY_SUBSCR": 25, "BINARY_FLOOR_DIVIDE": 26},
    **{"BINARY_TRUE_DIVIDE": 27, "INPLACE_FLOOR_DIVIDE": 28, "INPLACE_TRUE_DIVIDE": 29},
    **{"INPLACE_ADD": 55, "INPLACE_SUBTRACT": 56, "INPLACE_MULTIPLY": 57, "INPLACE_MODULO": 59},
    **{"BINARY_AND": 64, "BINARY_OR": 66, "INPLACE_POWER": 67, "COMPARE_OP": 107},
    **{"JUMP_FORWARD": 110, "JUMP_IF_FALSE_OR_POP": 111, "JUMP_IF_TRUE_OR_POP": 112},
    **{"JUMP_ABSOLUTE": 113, "POP_JUMP_IF_FALSE": 114, "POP_JUMP_IF_TRUE": 115},
    **{"CALL_FUNCTION": 131, "EXTENDED_ARG": 144, "LOAD_METHOD": 160, "CALL_METHOD": 161},
    **{"LOAD_NAME": 101, "IMPORT_NAME": 108, "IMPORT_FROM": 109, "DUP_TOP": 4, "ROT_TWO": 2},
    **{"ROT_THREE": 3},
}
_SINCE_39 = {"IS_OP": 117, "CONTAINS_OP": 118}
OLD = (
    Version(_OLD_NUMBERS, {}, jump=1, is_relative=False, comparisons=10, leaves_dead=True),
    Version(_OLD_NUMBERS | _SINCE_39, {}, jump=1, is_relative=False, leaves_dead=True),
    Version(_OLD_NUMBERS | _SINCE_39, {}, jump=2, is_relative=False),
)
"""3.6 to 3.8, 3.9, and 3.10, which counts jumps in instructions."""
_311 = {
    **{"CACHE": 0, "POP_TOP": 1, "PUSH_NULL": 2, "NOP": 9, "UNARY_POSITIVE": 10},
    **{"UNARY_NEGATIVE": 11, "UNARY_NOT": 12, "BINARY_SUBSCR": 25, "RETURN_VALUE": 83},
    **{"SWAP": 99, "LOAD_CONST": 100, "LOAD_NAME": 101, "BUILD_TUPLE": 102, "LOAD_ATTR": 106},
    **{"COMPARE_OP": 107, "IMPORT_NAME": 108, "IMPORT_FROM": 109, "JUMP_FORWARD": 110},
    **{"JUMP_IF_FALSE_OR_POP": 111, "JUMP_IF_TRUE_OR_POP": 112, "LOAD_GLOBAL": 116, "IS_OP": 117},
    **{"POP_JUMP_IF_FALSE": 114, "POP_JUMP_IF_TRUE": 115, "CONTAINS_OP": 118, "COPY": 120},
    **{"BINARY_OP": 122, "LOAD_FAST": 124, "STORE_FAST": 125, "LOAD_DEREF": 137},
    **{"EXTENDED_ARG": 144, "COPY_FREE_VARS": 149, "RESUME": 151, "LOAD_METHOD": 160},
    **{"PRECALL": 166, "CALL": 171},
}
_312 = {
    **{name: number for name, number in _311.items() if name not in ("LOAD_METHOD", "PRECALL")},
    **{"RETURN_CONST": 121, "LOAD_FAST_CHECK": 127},
}
for _gone in ("JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP", "UNARY_POSITIVE"):
    del _312[_gone]
_313 = {
    **{"CACHE": 0, "BINARY_SUBSCR": 5, "NOP": 30, "POP_TOP": 32, "PUSH_NULL": 34},
    **{"RETURN_VALUE": 36, "TO_BOOL": 40, "UNARY_NEGATIVE": 42, "UNARY_NOT": 43, "BINARY_OP": 45},
    **{"BUILD_TUPLE": 52, "CALL": 53, "COMPARE_OP": 58, "CONTAINS_OP": 59, "COPY": 61},
    **{"COPY_FREE_VARS": 62, "EXTENDED_ARG": 71, "IMPORT_FROM": 74, "IMPORT_NAME": 75},
    **{"IS_OP": 76, "JUMP_FORWARD": 79, "LOAD_ATTR": 82, "LOAD_CONST": 83, "LOAD_DEREF": 84},
    **{"LOAD_FAST": 85, "LOAD_FAST_CHECK": 87, "LOAD_FAST_LOAD_FAST": 88, "LOAD_GLOBAL": 91},
    **{"LOAD_NAME": 92, "POP_JUMP_IF_FALSE": 97, "POP_JUMP_IF_TRUE": 100, "RETURN_CONST": 103},
    **{"STORE_FAST": 110, "STORE_FAST_LOAD_FAST": 111, "STORE_FAST_STORE_FAST": 112, "SWAP": 115},
    **{"RESUME": 149},
}
NEW = (
    Version(
        _311,
        {
            **{"BINARY_SUBSCR": 4, "LOAD_ATTR": 4, "COMPARE_OP": 2, "LOAD_GLOBAL": 5},
            **{"BINARY_OP": 1, "LOAD_METHOD": 10, "PRECALL": 1, "CALL": 4},
        },
        shifts_globals=True,
    ),
    Version(
        _312,
        {
            **{"BINARY_SUBSCR": 1, "LOAD_ATTR": 9, "COMPARE_OP": 1, "LOAD_GLOBAL": 4},
            **{"BINARY_OP": 1, "CALL": 3},
        },
        shifts_attributes=True,
        shifts_globals=True,
        comparisons=6 << 4,
        lacks=frozenset((_311["LOAD_METHOD"], _311["PRECALL"])),
    ),
    Version(
        _313,
        {
            **{"BINARY_SUBSCR": 1, "LOAD_ATTR": 9, "COMPARE_OP": 1, "LOAD_GLOBAL": 4},
            **{"BINARY_OP": 1, "CALL": 3, "TO_BOOL": 3, "CONTAINS_OP": 1},
            **{"POP_JUMP_IF_FALSE": 1, "POP_JUMP_IF_TRUE": 1},
        },
        shifts_attributes=True,
        shifts_globals=True,
        null_follows=True,
        comparisons=6 << 5,
    ),
)


HERE = {(3, 11): NEW[:1], (3, 12): NEW[1:2], (3, 13): NEW[2:]}.get(sys.version_info[:2], ())
"""How this Python reads; empty for a later one, in which nothing that it loads is proven."""
