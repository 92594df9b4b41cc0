"""Code in a pickle: whether it only computes, and which dangerous names it reaches.

Code only computes where every instruction is one of those below: it moves numbers, its arguments
and its closure about, calculates, compares, jumps forwards, and calls, with constants that are
numbers (and a docstring), and with names that are words of arithmetic or given to it, each of them
used. Its stack and its places are followed through every branch, for bytecode made by hand can
reach past them. It has no handlers, no loops, no code inside it, none that nothing leads to, and
neither imports nor stores anything.

The same bytes mean something else to another Python. So code that this Python can load is read as
this one reads it. Code that it cannot load, by the number of its parts, is read as one of the
Pythons that can; which of these will run it nobody here knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from sacdoctor.files import fetched
from sacdoctor.trust.instructions import HERE, NEW, OLD, Version
from sacdoctor.trust.words import ARITHMETIC, BUILTIN_ARITHMETIC, reaches_dangerous

MAX_CODE = 4096
"""Bytes of code that is followed; schedules have under 200."""
_MAX_STACK = 64
_OPERATORS = 26
"""What `BINARY_OP` knows: `_nb_ops` of `opcode.py`."""
_FLAGS = 0x1 | 0x2 | 0x10 | 0x40 | 0x7FA0000
"""Optimised, new locals, nested, no free variables, and the `from __future__` flags: neither a
generator nor a coroutine, and no collecting of arguments."""


class Code(Struct, frozen=True, eq=False, dict=True):
    """A code object's parts, in the terms of `types.CodeType`, whichever Python wrote it."""

    arguments: int
    keyword_only: int
    locals: int
    stack: int
    flags: int
    code: bytes
    constants: tuple[Any, ...]
    names: tuple[str, ...]
    variables: tuple[str, ...]
    file: str
    name: str
    free: tuple[str, ...]
    cells: tuple[str, ...]
    has_handlers: bool
    versions: tuple[Version, ...]

    @classmethod
    def of(cls, args: tuple[Any, ...]) -> Code | None:
        """Return what `types.CodeType(*args)` makes, None for what no Python 3.6 to 3.13 writes.

        15 arguments until 3.7, 16 until 3.10 (positional-only ones), 18 since (a qualified name
        and a table of handlers).
        """
        kinds = {15: (0, 0), 16: (1, 0), 18: (1, 1)}.get(len(args))
        if kinds is None:
            return None
        posonly, qualified = kinds
        numbers = args[: 5 + posonly]
        code, constants, names, variables, file, name = args[5 + posonly : 11 + posonly]
        rest = args[11 + posonly :]
        _, line, _, *tables = rest if qualified else (name, *rest)
        handlers = tables.pop(0) if qualified else b""
        free, cells = tables
        texts = (names, variables, free, cells)
        if not (
            all(type(number) is int and 0 <= number < 2**31 for number in (*numbers, line))
            and isinstance(code, (bytes, memoryview))
            and isinstance(handlers, (bytes, memoryview))
            and isinstance(constants, tuple)
            and all(isinstance(t, tuple) and all(type(x) is str for x in t) for t in texts)
            and type(file) is str
            and type(name) is str
        ):
            return None
        arguments, (keyword_only, size, stack, flags) = numbers[0], numbers[1 + posonly :]
        return cls(
            arguments,
            keyword_only,
            size,
            stack,
            flags,
            bytes(fetched(memoryview(code))),
            constants,
            names,
            variables,
            file,
            name,
            free,
            cells,
            len(handlers) > 0,
            {15: OLD[:1], 16: OLD, 18: NEW}[len(args)],
        )

    @cached_property
    def needs(self) -> frozenset[str] | None:
        """Return the global names that code uses which only computes, None for any other code.

        Built-in words of arithmetic are left out: they stand for themselves where the function's
        globals do not say otherwise.
        """
        if not self._is_sound() or self.reaches():
            return None
        for version in HERE if self.versions is NEW else self.versions:
            try:
                follower = _Follower(self, version)
                used = follower.globals()
            except _Strange:
                continue
            if used | follower.taken == {*self.names}:
                return frozenset(used - BUILTIN_ARITHMETIC)
        return None

    def reaches(self, modules: Mapping[str, str] = MappingProxyType({})) -> tuple[str, ...]:
        """Return the dangerous names that the code reaches, in its order, as dotted paths.

        A built-in function that it loads (`eval`), a path from a module (`os.system`). An attribute
        of that name on something of its own is none. `modules` are the modules among its globals.
        """
        for version in self.versions:
            if version.lacks & {*self.code[::2]}:
                continue
            paths = _paths(self, version, modules)
            if paths is not None:
                return tuple(dict.fromkeys(path for path in paths if reaches_dangerous(path)))
        return ()  # what another Python wrote is not known, and not accused

    def _is_sound(self) -> bool:
        return (
            len(self.code) <= MAX_CODE
            and len(self.code) % 2 == 0
            and not self.has_handlers
            and not self.cells
            and not self.flags & ~_FLAGS
            and self.locals == len(self.variables)
            and self.arguments + self.keyword_only <= self.locals
            and self.stack <= _MAX_STACK
            and all(map(_is_harmless, self.constants))
            and all(type(constant) is not str for constant in self.constants[1:])
        )


def _is_harmless(constant: Any) -> bool:
    """Whether a constant is a number, or a text that is no name of Python's own."""
    if type(constant) is str:
        return "__" not in constant
    if type(constant) is tuple:
        return len(constant) < 16 and all(type(item) in (int, float, bool) for item in constant)
    return constant is None or type(constant) in (int, float, bool, complex)


_DEAD = ("LOAD_CONST", "RETURN_VALUE", "JUMP_FORWARD")


class _Strange(Exception):
    """The code does something that computing does not take."""


def _instructions(code: Code, version: Version) -> Iterator[tuple[int, int, str | None, int]]:
    """Yield start, end, name (None for one that is not followed) and argument of each."""
    at, start, wide = 0, 0, 0
    size = len(code.code)
    while at + 1 < size:
        name = version.instructions.get(code.code[at])
        argument = wide << 8 | code.code[at + 1]
        at += 2
        if name == "EXTENDED_ARG":
            wide = argument
            if wide >= 1 << 16:
                raise _Strange
            continue
        at += 2 * version.caches.get(name or "", 0)
        yield start, at, name, argument
        start, wide = at, 0


_VALUE, _NULL = "v", "0"
"""What stands on the stack: a value, or what may be none at all, which calls alone may take."""


class _State(Struct):
    """The stack, and which places hold a value for certain."""

    stack: str
    places: frozenset[int]


class _Follower:
    """Follows the stack through all branches; raises `_Strange` where it leaves the known.

    `taken` are the names of the attributes that it takes.
    """

    def __init__(self, code: Code, version: Version) -> None:
        self._code = code
        self._version = version
        self._used: set[str] = set()
        self.taken: set[str] = set()
        self._coming: dict[int, _State] = {}
        taken = code.arguments + code.keyword_only
        self._now: _State | None = _State("", frozenset(range(taken)))
        self._prepared: int | None = None
        self._is_open = not code.free or "COPY_FREE_VARS" not in version.numbers
        """Whether the closure is at hand, which newer code has to ask for first."""

    def globals(self) -> set[str]:
        code, version = self._code, self._version
        for start, end, name, argument in _instructions(code, version):
            self._arrive(start)
            if any(start < target < end for target in self._coming):
                raise _Strange
            if self._now is None:
                if version.leaves_dead and name in _DEAD:
                    continue
                raise _Strange  # nothing leads there: jumps go forwards
            if name is None or self._is_widened_by_nothing(start):
                raise _Strange
            if any(code.code[end - 2 * version.caches.get(name, 0) : end]):
                raise _Strange  # caches are written empty
            self._step(name, argument, end)
            if self._now is not None and len(self._now.stack) > code.stack:
                raise _Strange
        if self._now is not None or self._coming:
            raise _Strange  # it runs past its end
        return self._used

    def _is_widened_by_nothing(self, start: int) -> bool:
        """Whether a prefix stands there that no compiler writes.

        Python 3.11 skips the call behind what prepares it, where it has learnt to do both in one,
        and would land behind the prefix of the call.
        """
        opcode, argument = self._code.code[start : start + 2]
        return opcode == self._version.numbers["EXTENDED_ARG"] and argument == 0

    def _arrive(self, at: int) -> None:
        coming = self._coming.pop(at, None)
        if coming is None:
            return
        if self._now is None:
            self._now = coming
        elif self._now.stack != coming.stack:
            raise _Strange
        else:
            self._now = _State(coming.stack, self._now.places & coming.places)

    def _jump(self, target: int, end: int) -> None:
        """Note that the present state may come to `target`, which lies ahead."""
        assert self._now is not None
        if target < end or target >= len(self._code.code):
            raise _Strange
        here, there = self._now, self._coming.get(target)
        if there is not None and there.stack != here.stack:
            raise _Strange
        places = here.places & there.places if there is not None else here.places
        self._coming[target] = _State(here.stack, places)

    # -- the stack -----------------------------------------------------------------------------

    def _take(self, count: int = 1) -> None:
        assert self._now is not None
        stack = self._now.stack
        if count > len(stack) or _NULL in stack[len(stack) - count :]:
            raise _Strange
        self._now.stack = stack[: len(stack) - count]

    def _push(self, kinds: str = _VALUE) -> None:
        assert self._now is not None
        self._now.stack += kinds

    def _load(self, place: int) -> None:
        assert self._now is not None
        if place not in self._now.places:
            raise _Strange
        self._push()

    def _store(self, place: int) -> None:
        assert self._now is not None
        self._take()
        if place >= self._code.locals:
            raise _Strange
        self._now.places |= {place}

    def _name(self, number: int) -> str:
        if number >= len(self._code.names) or self._code.names[number] not in ARITHMETIC:
            raise _Strange
        self.taken.add(self._code.names[number])
        return self._code.names[number]

    def _call(self, count: int) -> None:
        """Take arguments, and below them what is called with what may be none at all."""
        assert self._now is not None
        self._take(count)
        stack = self._now.stack
        value = -2 if self._version.null_follows else -1
        if len(stack) < 2 or stack[value] != _VALUE:
            raise _Strange
        self._now.stack = stack[:-2] + _VALUE

    # -- instructions --------------------------------------------------------------------------

    def _step(self, name: str, argument: int, end: int) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and (name, argument) != ("CALL", prepared):
            raise _Strange
        does = _STEPS.get(name)
        if does is not None:
            does(self, argument)
        elif name.startswith(("BINARY_", "INPLACE_", "COMPARE_", "IS_", "CONTAINS_")):
            known = {"COMPARE_OP": self._version.comparisons, "BINARY_OP": _OPERATORS}
            if argument >= known.get(name, 256):
                raise _Strange
            self._take(2)
            self._push()
        elif name.startswith(("UNARY_", "TO_BOOL")):
            self._take()
            self._push()
        elif "JUMP" in name:
            self._branch(name, argument, end)
        else:
            raise _Strange

    def _branch(self, name: str, argument: int, end: int) -> None:
        target = argument * self._version.jump
        if self._version.is_relative or name == "JUMP_FORWARD":
            target += end
        keeps = name.endswith("OR_POP")
        if name.startswith("POP_JUMP"):
            self._take()
        if keeps:
            self._take()
            self._push()
        self._jump(target, end)
        if name in ("JUMP_FORWARD", "JUMP_ABSOLUTE"):
            self._now = None
        elif keeps:
            state = self._now
            assert state is not None
            self._now = _State(state.stack[:-1], state.places)
        else:
            assert self._now is not None
            self._now = _State(self._now.stack, self._now.places)

    def _constant(self, number: int) -> None:
        if number >= len(self._code.constants):
            raise _Strange
        self._push()

    def _global(self, argument: int) -> None:
        if not self._version.shifts_globals:
            number, with_null = argument, 0
        else:
            number, with_null = argument >> 1, argument & 1
        self._used.add(self._global_name(number))
        if not with_null:
            self._push()
        else:
            self._push(_VALUE + _NULL if self._version.null_follows else _NULL + _VALUE)

    def _global_name(self, number: int) -> str:
        if number >= len(self._code.names):
            raise _Strange
        return self._code.names[number]

    def _attribute(self, argument: int) -> None:
        is_method = self._version.shifts_attributes and argument & 1
        self._name(argument >> 1 if self._version.shifts_attributes else argument)
        self._take()
        if not is_method:
            self._push()
        else:
            self._push(_VALUE + _NULL if self._version.null_follows else _NULL + _VALUE)

    def _method(self, argument: int) -> None:
        self._name(argument)
        self._take()
        self._push(_NULL + _VALUE)

    def _deref(self, place: int) -> None:
        first = self._code.locals if "COPY_FREE_VARS" in self._version.numbers else 0
        if not (self._is_open and 0 <= place - first < len(self._code.free)):
            raise _Strange
        self._push()

    def _open(self, count: int) -> None:
        if count != len(self._code.free):
            raise _Strange
        self._is_open = True

    def _return(self, _: int) -> None:
        self._take()
        if self._now is None or self._now.stack:
            raise _Strange
        self._now = None

    def _return_constant(self, number: int) -> None:
        self._constant(number)
        self._return(0)

    def _prepare(self, count: int) -> None:
        """What comes before a call in 3.11: it may move what the call takes."""
        assert self._now is not None
        before = self._now.stack
        self._call(count)
        self._now.stack, self._prepared = before, count

    def _old_call(self, count: int) -> None:
        self._take(count + 1)
        self._push()

    def _copy(self, depth: int) -> None:
        assert self._now is not None
        if not 0 < depth <= len(self._now.stack) or _NULL in self._now.stack[-depth:]:
            raise _Strange
        self._push()

    def _swap(self, depth: int) -> None:
        self._copy(depth)
        self._take()

    def _tuple(self, count: int) -> None:
        self._take(count)
        self._push()

    def _two_loads(self, argument: int) -> None:
        self._load(argument >> 4)
        self._load(argument & 15)

    def _store_and_load(self, argument: int) -> None:
        self._store(argument >> 4)
        self._load(argument & 15)

    def _two_stores(self, argument: int) -> None:
        self._store(argument >> 4)
        self._store(argument & 15)


_STEPS: dict[str, Callable[[_Follower, int], None]] = {
    "NOP": lambda follower, _: None,
    "RESUME": lambda follower, _: None,
    "PRECALL": _Follower._prepare,
    "PUSH_NULL": lambda follower, _: follower._push(_NULL),
    "POP_TOP": lambda follower, _: follower._take(),
    "LOAD_CONST": _Follower._constant,
    "LOAD_FAST": _Follower._load,
    "LOAD_FAST_CHECK": _Follower._load,
    "LOAD_FAST_LOAD_FAST": _Follower._two_loads,
    "STORE_FAST": _Follower._store,
    "STORE_FAST_LOAD_FAST": _Follower._store_and_load,
    "STORE_FAST_STORE_FAST": _Follower._two_stores,
    "LOAD_GLOBAL": _Follower._global,
    "LOAD_ATTR": _Follower._attribute,
    "LOAD_METHOD": _Follower._method,
    "LOAD_DEREF": _Follower._deref,
    "COPY_FREE_VARS": _Follower._open,
    "RETURN_VALUE": _Follower._return,
    "RETURN_CONST": _Follower._return_constant,
    "CALL": _Follower._call,
    "CALL_FUNCTION": _Follower._old_call,
    "CALL_METHOD": _Follower._call,
    "BUILD_TUPLE": _Follower._tuple,
    "COPY": _Follower._copy,
    "SWAP": _Follower._swap,
    "DUP_TOP": lambda follower, _: follower._copy(1),
    "ROT_TWO": lambda follower, _: follower._swap(2),
    "ROT_THREE": lambda follower, _: follower._swap(3),
}


def _paths(code: Code, version: Version, modules: Mapping[str, str]) -> list[str] | None:
    """Return the dotted paths from a global name or an import that the code loads, in its order.

    None where this Python cannot have written it.
    """
    found: list[str] = []
    locals_: dict[int, str] = {}
    path, before, is_its_own = "", "", "RESUME" not in version.numbers
    try:
        for _, _, name, argument in _instructions(code, version):
            is_its_own |= name == "RESUME"
            if name == "CALL" and "PRECALL" in version.numbers and before != "PRECALL":
                return None  # 3.12 calls so
            before = name or ""
            if name in ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME"):
                is_shifted = name == "LOAD_GLOBAL" and version.shifts_globals
                path = code.names[argument >> is_shifted]
                found.append(path := modules.get(path, path))
            elif name in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
                is_shifted = name == "LOAD_ATTR" and version.shifts_attributes
                taken = f"{path}.{code.names[argument >> is_shifted]}"
                found.append(taken)
                path = path if name == "IMPORT_FROM" else taken
            elif name == "STORE_FAST":
                locals_[argument] = path
            elif name == "STORE_FAST_LOAD_FAST":
                locals_[argument >> 4] = path
                path = locals_.get(argument & 15, "")
            elif name in ("LOAD_FAST", "LOAD_FAST_CHECK"):
                path = locals_.get(argument, "")
            elif name not in ("PUSH_NULL", "PRECALL", "RESUME", "CACHE"):
                path = ""
    except (IndexError, _Strange):
        return None
    return found if is_its_own else None
