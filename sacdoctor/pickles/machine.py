"""The pickle machine: walks the opcodes of a pickle, never imports, never calls what it names.

Python's own unpickler looks names up and calls them; that is how loading a file runs its code.
This machine walks the same opcodes and hands every name, call and state to a `Vocabulary`, which
alone decides what they become. Opcodes: CPython's `pickletools`, protocols 0 to 5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.files import fetched, is_held, pin, unpin
from sacdoctor.pickles.budget import STEPS, WalkBudget
from sacdoctor.pickles.values import Made, as_key
from sacdoctor.pickles.vocabulary import Vocabulary

MAX_TEXT_NUMBER = 1000
"""Digits of a number written out as text; real ones have under 20."""
MAX_SLOT = 2**32 - 1
"""The last place in the memo that `LONG_BINPUT` can name."""

_WINDOW = 256 * 1024
"""Bytes of a large file's pickle that are read in one go."""
_AHEAD = STEPS * 32
"""Bytes that the opcodes of one grant take at most with short arguments: after longer ones, and
after each grant, there are so many again."""

_STOP = b"."[0]
_UINT2, _UINT4, _UINT8 = (struct.Struct(f"<{code}").unpack_from for code in "HIQ")
_INT4, _FLOAT8 = (struct.Struct(code).unpack_from for code in ("<i", ">d"))

# -- what is held, in bytes: measured with CPython 3.11's `sys.getsizeof`, its garbage collector's
# header and a slot on the stack added, and rounded up.

_SLOT, _NUMBER, _CONTAINER, _MADE = 16, 48, 96, 400
_TEXT, _SHORT, _CHARACTER, _OF_LINE = 104, 16, 4, 6
_KEPT, _ITEM = 112, 24
_SLICE = 256
_COPIED = 64
"""For each item of a list, tuple or dict that a call is given: the call may make a dict of it."""
_OTHER_KEY = 256


def read_pickle(
    data: bytes | memoryview, vocabulary: Vocabulary, budget: WalkBudget | None = None
) -> Any:
    """Return the object that the pickle in `data` describes, in the terms of `vocabulary`.

    Bytes of 4 KiB and more come as slices of `data`, not as copies. `budget` is that of the file
    that the pickle stands in; without one the pickle is taken for a file of its own.

    Raises `CorruptCheckpoint` for bytes that are no whole pickle or take more than the budget has
    left, and what `vocabulary` raises.
    """
    return Machine(memoryview(data), vocabulary, budget or WalkBudget.of(len(data))).run()


class Machine:
    """The stack machine: `stack` holds values, `marks` where each open group starts.

    `at` is where it stands in `data`; after `run` that is behind the pickle. `opcodes` says what
    each opcode does, and what it makes the process hold. Bytes from `large` on come as slices of
    `data`. `rare` are the opcodes met that no pickler of Python 3 writes for a protocol from 2 on.
    `hashes`: there are sets, or keys of dicts other than short flat ones (`as_key`).
    """

    large = 4096
    opcodes: tuple[Opcode, ...]

    def __init__(
        self, data: memoryview, vocabulary: Vocabulary, budget: WalkBudget, at: int = 0
    ) -> None:
        self.data = data
        self.size = len(data)
        self.at = self.begin = at
        self.vocabulary = vocabulary
        self.budget = budget
        self.protocol = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        # Of a large file what lies from here on is read before it is looked at.
        self.ready = at if is_held(data) else self.size + _AHEAD
        self.pinned = at
        self.rare: set[str] = set()
        self.hashes = False

    def run(self) -> Any:
        """Return what the pickle at `at` describes; raises as `read_pickle` does."""
        self.budget.enter()
        try:
            return self._run()
        except (IndexError, struct.error):
            raise CorruptCheckpoint("its pickle ends too early or is damaged") from None
        except (UnicodeDecodeError, ValueError, TypeError) as error:
            raise CorruptCheckpoint(f"its pickle is damaged: {error}") from None
        finally:
            self.budget.leave()

    def _run(self) -> Any:
        data, opcodes, budget = self.data, self.opcodes, self.budget
        while True:
            steps, held = budget.grant(), 0
            if self.at + _AHEAD > self.ready:
                self._read_on()
            for step in range(steps):
                opcode = data[self.at]
                self.at += 1
                if opcode == _STOP:
                    budget.give_back(steps - step - 1)
                    budget.hold(held)
                    return self._pop()
                does, holds = opcodes[opcode]
                held += holds
                does(self)
            budget.hold(held)

    # -- reading arguments ---------------------------------------------------------------------

    def _read_on(self) -> None:
        """Have the bytes read that come next, and let go of those before."""
        unpin(self.data[self.pinned : self.at])
        self.pinned = self.at
        end = self.at + _AHEAD + _WINDOW
        pin(self.data[self.at : end])
        self.ready = self.size + _AHEAD if end >= self.size else end

    def _slice(self, count: int) -> memoryview:
        """Take bytes as they stand there: of a large file, to be `fetched`."""
        end = self.at + count
        if end > self.size:
            raise CorruptCheckpoint("its pickle ends too early")
        piece = self.data[self.at : end]
        self.at = end
        if end + _AHEAD > self.ready:
            self._read_on()
        return piece

    def _take(self, count: int) -> memoryview:
        """Take bytes to look at."""
        if self.at + count > self.ready:
            return fetched(self._slice(count))
        end = self.at + count
        if end > self.size:
            raise CorruptCheckpoint("its pickle ends too early")
        piece = self.data[self.at : end]
        self.at = end
        if end + _AHEAD > self.ready:
            piece = memoryview(bytes(piece))
            self._read_on()
        return piece

    def _byte(self) -> int:
        byte: int = self.data[self.at]
        self.at += 1
        return byte

    def _uint2(self) -> int:
        at = self.at
        self.at = at + 2
        number: int = _UINT2(self.data, at)[0]
        return number

    def _uint4(self) -> int:
        at = self.at
        self.at = at + 4
        number: int = _UINT4(self.data, at)[0]
        return number

    def _uint8(self) -> int:
        at = self.at
        self.at = at + 8
        number: int = _UINT8(self.data, at)[0]
        return number

    def push_text(self, size: int) -> None:
        if size > _SHORT:
            self.budget.hold(_CHARACTER * size)
        self.stack.append(str(self._take(size), "utf-8", "surrogatepass"))

    def push_bytes(self, size: int) -> None:
        if size >= self.large:
            piece = self._slice(size)
            self.budget.hold(_SLICE)
            self.stack.append(piece)
        else:
            piece = self._take(size)
            if size > _SHORT:
                self.budget.hold(size)
            self.stack.append(bytes(piece))

    def _line(self) -> str:
        return self._raw_line().decode("utf-8")

    def _raw_line(self) -> bytes:
        # A line ends within a few hundred bytes; looking piece by piece copies no large tail.
        start, step = self.at, 256
        if start + _AHEAD > self.ready:
            self._read_on()
        piece = bytes(self.data[start : start + step])
        found = piece.find(b"\n")
        if 0 <= found <= _SHORT:
            self.at = start + found + 1
            return piece[:found]
        end = start
        while found < 0:
            end, step = end + step, step * 2
            if end >= self.size:
                raise CorruptCheckpoint("its pickle ends inside a line")
            found = bytes(fetched(self.data[end : end + step])).find(b"\n")
        end += found
        self.at = end + 1
        self.budget.hold(_OF_LINE * (end - start))
        line = bytes(fetched(self.data[start:end]))
        if self.at + _AHEAD > self.ready:
            self._read_on()
        return line

    def _number(self, line: str) -> int:
        if len(line) > MAX_TEXT_NUMBER:
            raise CorruptCheckpoint("its pickle holds a number of unlikely length")
        try:
            return int(line)
        except ValueError:
            if not line.lower().startswith(("0x", "-0x")):
                raise
            return self._hexadecimal(line)

    def _hexadecimal(self, line: str) -> int:
        return int(line, 0)

    # -- the stack -----------------------------------------------------------------------------

    def _pop(self) -> Any:
        if self.marks and self.marks[-1] >= len(self.stack):
            raise CorruptCheckpoint("its pickle takes a value that is not there")
        return self.stack.pop()

    def _two(self) -> list[Any]:
        """Take two values, in the order in which they were pushed."""
        stack, marks = self.stack, self.marks
        if len(stack) - (marks[-1] if marks else 0) < 2:
            raise CorruptCheckpoint("its pickle takes a value that is not there")
        two = stack[-2:]
        del stack[-2:]
        return two

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
        self.budget.hold(_ITEM * len(pairs))
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            safe = as_key(key)
            if safe is not key:
                self.hashes = True
                self.budget.hold(_OTHER_KEY)
            target[safe] = value

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
        if self._uint8() > self.size - self.at:
            raise CorruptCheckpoint("its pickle ends inside a frame")

    def proto(self) -> None:
        if self.at > self.begin + 1:
            self.rare.add("a second PROTO")
        self.protocol = self._byte()
        if self.protocol > 5:
            raise UnsupportedCheckpoint("its pickle has a protocol newer than 5")

    def recall(self, slot: int) -> None:
        try:
            self.stack.append(self.memo[slot])
        except KeyError:
            raise CorruptCheckpoint("its pickle recalls a value that it never kept") from None

    def keep(self, slot: int) -> None:
        stack, marks = self.stack, self.marks
        if marks and marks[-1] >= len(stack):
            raise CorruptCheckpoint("its pickle takes a value that is not there")
        self.memo[slot] = stack[-1]

    def put_line(self) -> None:
        slot = self._number(self._line())
        if not 0 <= slot <= MAX_SLOT:
            raise CorruptCheckpoint("its pickle keeps a value where no pickler does")
        self.keep(slot)

    def int_line(self) -> None:
        line = self._line()
        self.stack.append(line == "01" if line in ("00", "01") else self._number(line))

    def long_line(self) -> None:
        self.stack.append(self._number(self._line().rstrip("L")))

    def float_line(self) -> None:
        self.stack.append(float(self._line()))

    def binfloat(self) -> None:
        self.stack.append(_FLOAT8(self.data, self.at)[0])
        self.at += 8

    def push_long(self, size: int) -> None:
        if size > MAX_TEXT_NUMBER:
            raise CorruptCheckpoint("its pickle holds a number of unlikely length")
        self.stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def string_line(self) -> None:
        line = self._raw_line()
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
            raise CorruptCheckpoint("its pickle holds a string without quotes")
        self.stack.append(line[1:-1].decode("unicode_escape"))

    def push_old_string(self, size: int) -> None:
        self.budget.hold(size)
        self.stack.append(str(self._take(size), "latin-1"))

    def unicode_line(self) -> None:
        self.stack.append(self._raw_line().decode("raw_unicode_escape"))

    def empty_set(self) -> None:
        self.hashes = True
        self.stack.append([])

    def frozen_set(self) -> None:
        self.hashes = True
        self.list_of_group()

    def list_of_group(self) -> None:
        self.stack.append(self._group())

    def tuple_of_group(self) -> None:
        self.stack.append(tuple(self._group()))

    def dict_of_group(self) -> None:
        self.dict_of({})

    def dict_of(self, target: dict[Any, Any]) -> None:
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
        self.stack.append(self.vocabulary.name(module, qualname, self.protocol))

    def stack_global(self) -> None:
        qualname, module = self._pop(), self._pop()
        if isinstance(module, str) and isinstance(qualname, str):
            self.stack.append(self.vocabulary.name(module, qualname, self.protocol))
        else:
            self.stack.append(self.vocabulary.computed("a name that it puts together itself"))

    def extension(self, code: int) -> None:
        self.stack.append(self.vocabulary.computed(f"extension code {code} of copyreg"))

    def reduce(self) -> None:
        function, args = self._two()
        self._call(self.vocabulary.call, function, args)

    def newobj(self) -> None:
        args, cls = self._pop(), self._pop()
        self._call(self.vocabulary.new, cls, args)

    def newobj_ex(self) -> None:
        kwargs, args, cls = self._pop(), self._pop(), self._pop()
        if not isinstance(kwargs, dict):
            raise CorruptCheckpoint("its pickle passes keywords that are no dict")
        self._call(self.vocabulary.new, cls, args, kwargs)

    def inst(self) -> None:
        module, qualname = self._line(), self._line()
        args = tuple(self._group())
        function = self.vocabulary.name(module, qualname, self.protocol)
        self._call(self.vocabulary.call, function, args)

    def obj(self) -> None:
        group = self._group()
        self._call(self.vocabulary.call, group[0], tuple(group[1:]))

    def _call(self, how: Callable[..., Any], function: Any, args: Any, kwargs: Any = None) -> None:
        if not isinstance(args, tuple):
            # Symbolic pickles may compute their arguments; keep what is known.
            args = (args,)
        self._hold_copies(args)
        self.stack.append(how(function, args, kwargs or {}))

    def _hold_copies(self, args: tuple[Any, ...]) -> None:
        """Count what a call may copy: a pickle can pass the same long list again and again."""
        size = _SLOT * len(args)
        for arg in args:
            if isinstance(arg, (list, tuple, dict)):
                size += _COPIED * len(arg)
            elif isinstance(arg, str):
                size += len(arg)
        self.budget.hold(size)

    def build(self) -> None:
        state = self._pop()
        self.vocabulary.build(self._top(), state)

    def persid_line(self) -> None:
        self.stack.append(self.vocabulary.persistent(self._line()))

    def binpersid(self) -> None:
        self.stack.append(self.vocabulary.persistent(self._pop()))

    def out_of_band(self) -> None:
        raise UnsupportedCheckpoint("its pickle keeps some of its bytes outside the file")


# -- opcodes that tensors are made of, nine in ten of a state dict: none calls another function


def _binget(machine: Machine) -> None:
    at = machine.at
    machine.at = at + 1
    slot = machine.data[at]
    if slot not in machine.memo:
        machine.recall(slot)  # which says that nothing is there
    machine.stack.append(machine.memo[slot])


def _long_binget(machine: Machine) -> None:
    at = machine.at
    machine.at = at + 4
    slot = _UINT4(machine.data, at)[0]
    if slot not in machine.memo:
        machine.recall(slot)
    machine.stack.append(machine.memo[slot])


def _binput(machine: Machine) -> None:
    at, stack, marks = machine.at, machine.stack, machine.marks
    machine.at = at + 1
    if marks and marks[-1] >= len(stack):
        machine.keep(0)  # which says that nothing is there
    machine.memo[machine.data[at]] = stack[-1]


def _long_binput(machine: Machine) -> None:
    at, stack, marks = machine.at, machine.stack, machine.marks
    machine.at = at + 4
    if marks and marks[-1] >= len(stack):
        machine.keep(0)
    machine.memo[_UINT4(machine.data, at)[0]] = stack[-1]


def _binint(machine: Machine) -> None:
    at = machine.at
    machine.at = at + 4
    machine.stack.append(_INT4(machine.data, at)[0])


def _binint1(machine: Machine) -> None:
    at = machine.at
    machine.at = at + 1
    machine.stack.append(machine.data[at])


def _binint2(machine: Machine) -> None:
    at = machine.at
    machine.at = at + 2
    machine.stack.append(_UINT2(machine.data, at)[0])


def _binunicode(machine: Machine) -> None:
    at = machine.at + 4
    size = _UINT4(machine.data, machine.at)[0]
    machine.at = at
    end = at + size
    if size > _SHORT or end + _AHEAD > machine.ready:
        machine.push_text(size)
        return
    machine.at = end
    machine.stack.append(str(machine.data[at:end], "utf-8", "surrogatepass"))


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def making(machine: Machine) -> None:
        stack, marks = machine.stack, machine.marks
        if len(stack) - (marks[-1] if marks else 0) < count:
            raise CorruptCheckpoint("its pickle takes a value that is not there")
        stack[-count:] = (tuple(stack[-count:]),)

    return making


def _rare(name: str, does: Callable[[Machine], None]) -> Callable[[Machine], None]:
    def noting(machine: Machine) -> None:
        machine.rare.add(name)
        does(machine)

    return noting


def _push(value: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value())


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


Opcode = tuple[Callable[[Any], None], int]
"""What an opcode does to the machine, and how many bytes it makes the process hold; what depends
on its argument is counted where it is read."""

_BY_OPCODE: dict[bytes, Opcode] = {
    b"(": (Machine.mark, _SLOT),
    b"0": (Machine.pop, 0),
    b"1": (Machine.pop_mark, 0),
    b"2": (_rare("DUP", Machine.dup), _SLOT),
    b"\x95": (Machine.frame, 0),
    b"\x80": (Machine.proto, 0),
    b"g": (_rare("GET", lambda m: m.recall(m._number(m._line()))), _SLOT),
    b"h": (_binget, _SLOT),
    b"j": (_long_binget, _SLOT),
    b"p": (_rare("PUT", Machine.put_line), _KEPT),
    b"q": (_binput, _KEPT),
    b"r": (_long_binput, _KEPT),
    b"\x94": (lambda m: m.keep(len(m.memo)), _KEPT),
    b"N": (_constant(None), _SLOT),
    b"\x88": (_constant(True), _SLOT),
    b"\x89": (_constant(False), _SLOT),
    b"I": (_rare("INT", Machine.int_line), _NUMBER),
    b"L": (_rare("LONG", Machine.long_line), _NUMBER),
    b"F": (_rare("FLOAT", Machine.float_line), _NUMBER),
    b"G": (Machine.binfloat, _NUMBER),
    b"J": (_binint, _NUMBER),
    b"K": (_binint1, _SLOT),
    b"M": (_binint2, _NUMBER),
    b"\x8a": (lambda m: m.push_long(m._byte()), 2 * _NUMBER),
    b"\x8b": (lambda m: m.push_long(m._uint4()), MAX_TEXT_NUMBER),
    b"S": (_rare("STRING", Machine.string_line), _TEXT),
    b"T": (_rare("BINSTRING", lambda m: m.push_old_string(m._uint4())), _TEXT),
    b"U": (_rare("SHORT_BINSTRING", lambda m: m.push_old_string(m._byte())), _TEXT),
    b"V": (_rare("UNICODE", Machine.unicode_line), _TEXT),
    b"X": (_binunicode, _TEXT),
    b"\x8c": (lambda m: m.push_text(m._byte()), _TEXT),
    b"\x8d": (lambda m: m.push_text(m._uint8()), _TEXT),
    b"B": (lambda m: m.push_bytes(m._uint4()), _TEXT),
    b"C": (lambda m: m.push_bytes(m._byte()), _TEXT),
    b"\x8e": (lambda m: m.push_bytes(m._uint8()), _TEXT),
    b"\x96": (lambda m: m.push_bytes(m._uint8()), _TEXT),
    b"\x97": (Machine.out_of_band, 0),
    b"\x98": (Machine.out_of_band, 0),
    b"]": (_push(list), _CONTAINER),
    b"l": (_rare("LIST", Machine.list_of_group), _CONTAINER),
    b")": (_constant(()), _SLOT),
    b"t": (Machine.tuple_of_group, _CONTAINER),
    b"\x85": (_tuple_of(1), _CONTAINER),
    b"\x86": (_tuple_of(2), _CONTAINER),
    b"\x87": (_tuple_of(3), _CONTAINER),
    b"}": (_push(dict), _CONTAINER),
    b"d": (_rare("DICT", Machine.dict_of_group), 2 * _CONTAINER),
    b"\x8f": (Machine.empty_set, _CONTAINER),
    b"\x91": (Machine.frozen_set, _CONTAINER),
    b"\x90": (Machine.add_items, _SLOT),
    b"a": (Machine.append, _NUMBER),
    b"e": (Machine.add_items, _NUMBER),
    b"s": (Machine.set_item, _NUMBER),
    b"u": (Machine.set_items, _NUMBER),
    b"c": (Machine.global_line, 3 * _TEXT),
    b"\x93": (Machine.stack_global, _CONTAINER),
    b"\x82": (lambda m: m.extension(m._byte()), _MADE),
    b"\x83": (lambda m: m.extension(m._uint2()), _MADE),
    b"\x84": (lambda m: m.extension(m._uint4()), _MADE),
    b"R": (Machine.reduce, _MADE),
    b"\x81": (Machine.newobj, _MADE),
    b"\x92": (Machine.newobj_ex, _MADE),
    b"i": (_rare("INST", Machine.inst), _MADE),
    b"o": (_rare("OBJ", Machine.obj), _MADE),
    b"b": (Machine.build, _NUMBER),
    b"P": (_rare("PERSID", Machine.persid_line), _MADE),
    b"Q": (Machine.binpersid, _MADE),
}
Machine.opcodes = tuple(
    _BY_OPCODE.get(bytes([opcode]), (Machine.unknown, 0)) for opcode in range(256)
)
