"""Pickles read as data: a pickle machine that never imports, never calls what a pickle names.

Python's own unpickler looks names up and calls them; that is how loading a file runs its code.
This machine walks the same opcodes and hands every name, call and state to a `Vocabulary`, which
alone decides what they become. Opcodes: CPython's `pickletools`, protocols 0 to 5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sacdoctor.errors import CorruptCheckpoint, UnlistedName, UnsupportedCheckpoint

MAX_TEXT_NUMBER = 1000
"""Digits of a number written out as text; real ones have under 20."""
MAX_OPERATIONS = 5_000_000
"""Opcodes of one pickle. A state dict takes about 45 per tensor; each may leave an object behind,
and an empty list a byte long takes 64 bytes of memory."""
MAX_PASSED = 10_000_000
"""Items and characters that all calls of one pickle may be given; a call may copy what it is
given, and a pickle can pass the same long list again and again. Real files stay far below."""
MAX_KEY_PARTS = 16
"""Items of a tuple that is a dict's key; hashing it takes time whenever it is used."""


class Vocabulary(Protocol):
    """What a pickle's names, calls and states become."""

    def name(self, module: str, qualname: str) -> Any:
        """Return what the name stands for, or raise `UnlistedName`."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what calling `function`, a thing that `name` returned, makes."""

    def build(self, thing: Any, state: Any) -> None:
        """Give `thing` its state, as `__setstate__` or `__dict__.update` would."""

    def persistent(self, identity: Any) -> Any:
        """Return what a persistent id (in torch files: a storage) stands for."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle refers to."""

    module: str
    qualname: str

    def __str__(self) -> str:
        return f"{self.module}.{self.qualname}"


@dataclass(eq=False, slots=True)
class Made:
    """An object that a pickle would have made by calling `function`."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    states: list[Any] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


class Symbols:
    """The vocabulary that takes every name for a symbol: nothing is refused, nothing happens."""

    def name(self, module: str, qualname: str) -> Name:
        return Name(module, qualname)

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Made:
        return Made(function, args, kwargs)

    def build(self, thing: Any, state: Any) -> None:
        if isinstance(thing, Made):
            thing.states.append(state)

    def persistent(self, identity: Any) -> Made:
        return Made(Name("pickle", "persistent_load"), (identity,))


class ListedNames:
    """The vocabulary that knows a short list of names and stops at any other.

    `names` maps (module, qualname) to a function of this project that builds the value from the
    arguments in the pickle, or to a constant. `build` ignores the states of what these make: none
    matters here (an `OrderedDict` carries its module versions that way). It refuses a state for a
    listed thing itself, which would change a function or class that everybody uses.
    """

    def __init__(
        self,
        names: dict[tuple[str, str], Any],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self._names = names
        self._callable = {id(value) for value in names.values() if callable(value)}
        self._listed = {id(value) for value in names.values()}
        self._persistent = persistent
        self._passed = 0

    def name(self, module: str, qualname: str) -> Any:
        try:
            return self._names[module, qualname]
        except KeyError:
            raise UnlistedName(
                f"its pickle asks for {module}.{qualname}, which no state dict needs; "
                "the file was not read any further"
            ) from None

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(function) not in self._callable or kwargs:
            raise CorruptCheckpoint("its pickle calls something that cannot be called")
        self._passed += len(args)
        for arg in args:
            if isinstance(arg, _SIZED):
                self._passed += len(arg)
        if self._passed > MAX_PASSED:
            raise CorruptCheckpoint("its pickle passes more to its calls than any state dict does")
        try:
            return function(*args)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise CorruptCheckpoint(
                f"its pickle gives wrong arguments to {getattr(function, '__name__', '?')}: {error}"
            ) from None

    def build(self, thing: Any, state: Any) -> None:
        if id(thing) in self._listed:
            raise CorruptCheckpoint("its pickle changes a function or class that it refers to")

    def persistent(self, identity: Any) -> Any:
        if self._persistent is None:
            raise CorruptCheckpoint("its pickle refers to a storage, and there is none")
        return self._persistent(identity)


def read_pickle(data: bytes | memoryview, vocabulary: Vocabulary) -> Any:
    """Return the object that the pickle in `data` describes, in the terms of `vocabulary`.

    Bytes of 4 KiB and more come as slices of `data`, not as copies.

    Raises `CorruptCheckpoint` for bytes that are no whole pickle, and what `vocabulary` raises.
    """
    return Machine(memoryview(data), vocabulary).run()


_SIZED = (str, bytes, memoryview, tuple, list, dict)
_KEY_TYPES = (str, float, bytes, bool, type(None))


class Machine:
    """The stack machine: `stack` holds values, `marks` where each open group starts.

    `at` is where it stands in `data`; after `run` that is behind the pickle. `handlers` says what
    each opcode does. Bytes from `large` on come as slices of `data`.
    """

    large = 4096

    def __init__(
        self,
        data: memoryview,
        vocabulary: Vocabulary,
        handlers: Sequence[Callable[[Any], None]] | None = None,
        at: int = 0,
    ) -> None:
        self.data = data
        self.size = len(data)
        self.at = at
        self.vocabulary = vocabulary
        self.handlers = HANDLERS if handlers is None else handlers
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return what the pickle at `at` describes; raises as `read_pickle` does."""
        try:
            return self._run()
        except (IndexError, struct.error):
            raise CorruptCheckpoint("its pickle ends too early or is damaged") from None
        except (UnicodeDecodeError, ValueError, TypeError) as error:
            raise CorruptCheckpoint(f"its pickle is damaged: {error}") from None

    def _run(self) -> Any:
        data, handlers = self.data, self.handlers
        for _ in range(MAX_OPERATIONS):
            opcode = data[self.at]
            self.at += 1
            if opcode == 0x2E:  # STOP
                return self._pop()
            handlers[opcode](self)
        raise CorruptCheckpoint(f"its pickle takes more than {MAX_OPERATIONS:,} operations")

    # -- reading arguments ---------------------------------------------------------------------

    def _take(self, count: int) -> memoryview:
        end = self.at + count
        if end > self.size:
            raise CorruptCheckpoint("its pickle ends too early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def _unsigned(self, width: int) -> int:
        at = self.at
        self.at = end = at + width
        if end > self.size:
            raise CorruptCheckpoint("its pickle ends too early")
        return int.from_bytes(self.data[at:end], "little")

    def _byte(self) -> int:
        byte: int = self.data[self.at]
        self.at += 1
        return byte

    def _text(self, width: int) -> str:
        return str(self._take(self._unsigned(width)), "utf-8", "surrogatepass")

    def _bytes(self, width: int) -> bytes | memoryview:
        piece = self._take(self._unsigned(width))
        return piece if len(piece) >= self.large else bytes(piece)

    def _line(self) -> str:
        return self._raw_line().decode("utf-8")

    def _raw_line(self) -> bytes:
        # A line ends within a few hundred bytes; looking piece by piece copies no large tail.
        end, step = self.at, 256
        while end < self.size:
            piece = bytes(self.data[end : end + step])
            found = piece.find(b"\n")
            if found >= 0:
                line = bytes(self.data[self.at : end + found])
                self.at = end + found + 1
                return line
            end, step = end + step, step * 2
        raise CorruptCheckpoint("its pickle ends inside a line")

    def _number(self, line: str) -> int:
        if len(line) > MAX_TEXT_NUMBER:
            raise CorruptCheckpoint("its pickle holds a number of unlikely length")
        return int(line, 0) if line.lower().startswith(("0x", "-0x")) else int(line)

    # -- the stack -----------------------------------------------------------------------------

    def _pop(self) -> Any:
        if self.marks and self.marks[-1] >= len(self.stack):
            raise CorruptCheckpoint("its pickle takes a value that is not there")
        return self.stack.pop()

    def _top(self) -> Any:
        if self.marks and self.marks[-1] >= len(self.stack):
            raise CorruptCheckpoint("its pickle takes a value that is not there")
        return self.stack[-1]

    def _group(self) -> list[Any]:
        start = self.marks.pop()
        group = self.stack[start:]
        del self.stack[start:]
        return group

    def _set_items(self, target: Any, pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise CorruptCheckpoint("its pickle sets a key without a value")
        if isinstance(target, Made):
            target.pairs.extend(zip(pairs[::2], pairs[1::2], strict=True))
            return
        if not isinstance(target, dict):
            raise CorruptCheckpoint("its pickle sets items of something that has none")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[as_key(key)] = value

    def _append(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, Made):
            target.items.extend(items)
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise CorruptCheckpoint("its pickle appends to something that is no list")

    # -- opcodes -------------------------------------------------------------------------------

    def unknown(self) -> None:
        raise CorruptCheckpoint(f"its pickle holds no known opcode at byte {self.at - 1:,}")

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def pop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def pop_mark(self) -> None:
        self._group()

    def dup(self) -> None:
        self.stack.append(self._top())

    def frame(self) -> None:
        if self._unsigned(8) > self.size - self.at:
            raise CorruptCheckpoint("its pickle ends inside a frame")

    def proto(self) -> None:
        if self._unsigned(1) > 5:
            raise UnsupportedCheckpoint("its pickle has a protocol newer than 5")

    def get_line(self) -> None:
        self.stack.append(self._recall(self._number(self._line())))

    def binget(self) -> None:
        self.stack.append(self._recall(self._byte()))

    def long_binget(self) -> None:
        self.stack.append(self._recall(self._unsigned(4)))

    def _recall(self, index: int) -> Any:
        try:
            return self.memo[index]
        except KeyError:
            raise CorruptCheckpoint("its pickle recalls a value that it never kept") from None

    def put_line(self) -> None:
        self.memo[self._number(self._line())] = self._top()

    def binput(self) -> None:
        self.memo[self._byte()] = self._top()

    def long_binput(self) -> None:
        self.memo[self._unsigned(4)] = self._top()

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self._top()

    def int_line(self) -> None:
        line = self._line()
        self.stack.append(line == "01" if line in ("00", "01") else self._number(line))

    def long_line(self) -> None:
        self.stack.append(self._number(self._line().rstrip("L")))

    def float_line(self) -> None:
        self.stack.append(float(self._line()))

    def binfloat(self) -> None:
        self.stack.append(struct.unpack(">d", self._take(8))[0])

    def binint(self) -> None:
        self.stack.append(int.from_bytes(self._take(4), "little", signed=True))

    def long1(self) -> None:
        self.stack.append(int.from_bytes(self._take(self._unsigned(1)), "little", signed=True))

    def long4(self) -> None:
        size = self._unsigned(4)
        if size > MAX_TEXT_NUMBER:
            raise CorruptCheckpoint("its pickle holds a number of unlikely length")
        self.stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def string_line(self) -> None:
        line = self._raw_line().decode("latin-1")
        if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
            raise CorruptCheckpoint("its pickle holds a string without quotes")
        self.stack.append(line[1:-1].encode("latin-1").decode("unicode_escape"))

    def old_string(self, width: int) -> None:
        self.stack.append(str(self._take(self._unsigned(width)), "latin-1"))

    def unicode_line(self) -> None:
        self.stack.append(self._raw_line().decode("raw_unicode_escape"))

    def list_of_group(self) -> None:
        self.stack.append(self._group())

    def tuple_of_group(self) -> None:
        self.stack.append(tuple(self._group()))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise CorruptCheckpoint("its pickle takes a value that is not there")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def dict_of_group(self) -> None:
        target: dict[Any, Any] = {}
        self._set_items(target, self._group())
        self.stack.append(target)

    def add_items(self) -> None:
        # A set is kept as the list of its items: they may be symbols, which have no hash.
        items = self._group()
        self._append(self._top(), items)

    def append(self) -> None:
        item = self._pop()
        self._append(self._top(), [item])

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items(self._top(), [key, value])

    def set_items(self) -> None:
        pairs = self._group()
        self._set_items(self._top(), pairs)

    def global_line(self) -> None:
        module, qualname = self._line(), self._line()
        self.stack.append(self.vocabulary.name(module, qualname))

    def stack_global(self) -> None:
        qualname, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(qualname, str):
            raise CorruptCheckpoint("its pickle computes a name from something that is no text")
        self.stack.append(self.vocabulary.name(module, qualname))

    def extension(self, width: int) -> None:
        raise UnsupportedCheckpoint(
            f"its pickle uses extension code {self._unsigned(width)}, whose meaning is not in it"
        )

    def reduce(self) -> None:
        args, function = self._pop(), self._pop()
        self.stack.append(self._call(function, args))

    def newobj(self) -> None:
        self.reduce()

    def newobj_ex(self) -> None:
        kwargs, args, function = self._pop(), self._pop(), self._pop()
        if not isinstance(kwargs, dict):
            raise CorruptCheckpoint("its pickle passes keywords that are no dict")
        self.stack.append(self._call(function, args, kwargs))

    def inst(self) -> None:
        module, qualname = self._line(), self._line()
        args = tuple(self._group())
        self.stack.append(self._call(self.vocabulary.name(module, qualname), args))

    def obj(self) -> None:
        group = self._group()
        self.stack.append(self._call(group[0], tuple(group[1:])))

    def _call(self, function: Any, args: Any, kwargs: dict[str, Any] | None = None) -> Any:
        if not isinstance(args, tuple):
            # Symbolic pickles may compute their arguments; keep what is known.
            args = (args,)
        return self.vocabulary.call(function, args, kwargs or {})

    def build(self) -> None:
        state = self._pop()
        self.vocabulary.build(self._top(), state)

    def persid_line(self) -> None:
        self.stack.append(self.vocabulary.persistent(self._line()))

    def binpersid(self) -> None:
        self.stack.append(self.vocabulary.persistent(self._pop()))

    def out_of_band(self) -> None:
        raise UnsupportedCheckpoint("its pickle keeps some of its bytes outside the file")


def as_key(key: Any) -> Any:
    """Return a dict key that is quick and safe to hash.

    A tuple nested a few dozen times in itself takes longer to hash than anyone will wait, and
    large whole numbers can be chosen to share one hash. So only short flat keys are taken as they
    are; any other stands under its own identity.
    """
    if _is_plain(key):
        return key
    if isinstance(key, tuple) and len(key) <= MAX_KEY_PARTS and all(map(_is_plain, key)):
        return key
    return Name("object", str(id(key)))


def _is_plain(key: Any) -> bool:
    return isinstance(key, _KEY_TYPES) or (type(key) is int and abs(key) < 2**63)


def _push(value: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value())


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


_BY_OPCODE: dict[bytes, Callable[[Machine], None]] = {
    b"(": Machine.mark,
    b"0": Machine.pop,
    b"1": Machine.pop_mark,
    b"2": Machine.dup,
    b"\x95": Machine.frame,
    b"\x80": Machine.proto,
    b"g": Machine.get_line,
    b"h": Machine.binget,
    b"j": Machine.long_binget,
    b"p": Machine.put_line,
    b"q": Machine.binput,
    b"r": Machine.long_binput,
    b"\x94": Machine.memoize,
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"I": Machine.int_line,
    b"L": Machine.long_line,
    b"F": Machine.float_line,
    b"G": Machine.binfloat,
    b"J": Machine.binint,
    b"K": lambda m: m.stack.append(m._byte()),
    b"M": lambda m: m.stack.append(m._unsigned(2)),
    b"\x8a": Machine.long1,
    b"\x8b": Machine.long4,
    b"S": Machine.string_line,
    b"T": lambda m: m.old_string(4),
    b"U": lambda m: m.old_string(1),
    b"V": Machine.unicode_line,
    b"X": lambda m: m.stack.append(m._text(4)),
    b"\x8c": lambda m: m.stack.append(m._text(1)),
    b"\x8d": lambda m: m.stack.append(m._text(8)),
    b"B": lambda m: m.stack.append(m._bytes(4)),
    b"C": lambda m: m.stack.append(m._bytes(1)),
    b"\x8e": lambda m: m.stack.append(m._bytes(8)),
    b"\x96": lambda m: m.stack.append(m._bytes(8)),
    b"\x97": Machine.out_of_band,
    b"\x98": Machine.out_of_band,
    b"]": _push(list),
    b"l": Machine.list_of_group,
    b")": _constant(()),
    b"t": Machine.tuple_of_group,
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"}": _push(dict),
    b"d": Machine.dict_of_group,
    b"\x8f": _push(list),
    b"\x91": Machine.list_of_group,
    b"\x90": Machine.add_items,
    b"a": Machine.append,
    b"e": Machine.add_items,
    b"s": Machine.set_item,
    b"u": Machine.set_items,
    b"c": Machine.global_line,
    b"\x93": Machine.stack_global,
    b"\x82": lambda m: m.extension(1),
    b"\x83": lambda m: m.extension(2),
    b"\x84": lambda m: m.extension(4),
    b"R": Machine.reduce,
    b"\x81": Machine.newobj,
    b"\x92": Machine.newobj_ex,
    b"i": Machine.inst,
    b"o": Machine.obj,
    b"b": Machine.build,
    b"P": Machine.persid_line,
    b"Q": Machine.binpersid,
}
HANDLERS: tuple[Callable[[Machine], None], ...] = tuple(
    _BY_OPCODE.get(bytes([opcode]), Machine.unknown) for opcode in range(256)
)
"""What each opcode does to the machine, by its byte."""
