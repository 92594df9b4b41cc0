"""Pickles read together with where in their bytes the values of their dicts stand.

Whoever changes single numbers of a pickle, drops items of a list, and copies all else, needs to
know their places.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection
from typing import Any

from msgspec import Struct, field

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.pickles.budget import WalkBudget
from sacdoctor.pickles.machine import Machine, Opcode
from sacdoctor.pickles.vocabulary import Vocabulary

Place = tuple[int, int]
"""Start and end of some bytes."""


class PlacedValue(Struct, frozen=True, eq=False):
    """The bytes that make the value which `target` (a dict, or what stands for one) gets for `key`.

    They end behind the last opcode that puts the value on the stack, keeps it or fills it.
    `is_single` says that this key alone is set next (SETITEM), not a group of them (SETITEMS).
    """

    target: Any
    key: str
    place: Place
    is_single: bool


class Uses(Struct):
    """Which slots of the memo opcodes fill, or ask for, and where these opcodes stand, in order."""

    slots: array[int] = field(default_factory=lambda: array("Q"))
    positions: array[int] = field(default_factory=lambda: array("Q"))

    def append(self, slot: int, position: int) -> None:
        self.slots.append(slot)
        self.positions.append(position)

    def within(self, place: Place) -> array[int]:
        """Return the slots of the opcodes within `place`."""
        start, end = (bisect_left(self.positions, at) for at in place)
        return self.slots[start:end]

    def by_slot(self) -> dict[int, list[int]]:
        """Return where the opcodes stand, by slot."""
        found: dict[int, list[int]] = {}
        for slot, position in zip(self.slots, self.positions, strict=True):
            found.setdefault(slot, []).append(position)
        return found


class Items(Struct):
    """Where `POP` opcodes keep items from a list, in the order in which it gets them.

    Each takes the place of the bytes from a start to an end: of the opcode that would append the
    item, or of none, behind an item of a group. The item is made all the same, as the memo counts
    what is made, and others may recall it.
    """

    target: Any
    starts: array[int] = field(default_factory=lambda: array("Q"))
    ends: array[int] = field(default_factory=lambda: array("Q"))

    def drop(self, at: int) -> Place:
        """Return what a `POP` replaces to drop one item."""
        return self.starts[at], self.ends[at]


class Places(Struct):
    """Where things stand in a pickle.

    `values` are those under the keys that were asked for, in the order in which dicts get them.
    `frames` are the opcodes that announce a frame; a pickle is as good without them. `kept` and
    `recalled` are the uses of the memo, `counts_slots` whether one of them (MEMOIZE) finds its slot
    by counting those before it. `items` and `first_numbers` are kept by the identity of a list and
    of a tuple of numbers, such as an array's shape.
    """

    values: list[PlacedValue] = field(default_factory=list)
    frames: list[Place] = field(default_factory=list)
    items: dict[int, Items] = field(default_factory=dict)
    first_numbers: dict[int, tuple[Any, Place]] = field(default_factory=dict)
    kept: Uses = field(default_factory=lambda: Uses())
    recalled: Uses = field(default_factory=lambda: Uses())
    counts_slots: bool = False

    def items_of(self, target: Any) -> Items | None:
        """Return the places of the items that a list, or what stands for one, gets."""
        return self.items.get(id(target))

    def first_number_of(self, numbers: tuple[int, ...]) -> Place | None:
        """Return where the first of a tuple of whole numbers stands, None for small ones."""
        found = self.first_numbers.get(id(numbers))
        return None if found is None else found[1]


def read_placed_pickle(
    data: memoryview,
    vocabulary: Vocabulary,
    keys: Collection[str],
    budget: WalkBudget | None = None,
) -> tuple[Any, Places]:
    """Return what `read_pickle` returns, and the places of what stands under `keys`.

    All bytes come as slices of `data`, however short. Raises as `read_pickle` does, and
    `UnsupportedCheckpoint` for numbers that Python's own `pickletools` does not read.
    """
    machine = _PlacedMachine(data, vocabulary, budget or WalkBudget.of(len(data)))
    machine.keys = frozenset(keys)
    return machine.run(), machine.places


class _PlacedMachine(Machine):
    """Notes, beside the stack, where the bytes of each value start and end.

    A value that is made of others starts where the first of them does. `start` is where the
    opcode at work stands; `opened` has the positions of the open marks.
    """

    large = 1
    keys: frozenset[str]

    def __init__(self, data: memoryview, vocabulary: Vocabulary, budget: WalkBudget) -> None:
        super().__init__(data, vocabulary, budget)
        self.places = Places()
        self.start = 0
        self.starts, self.ends, self.opened = array("Q"), array("Q"), array("Q")

    def keep(self, slot: int) -> None:
        super().keep(slot)
        self.places.kept.append(slot, self.start)

    def recall(self, slot: int) -> None:
        super().recall(slot)
        self.places.recalled.append(slot, self.start)

    def note_values(self, first: int, is_single: bool) -> None:
        """Note the places of the values that the dict below `first` is about to get."""
        stack, keys = self.stack, self.keys
        if first < 1:
            return
        for at in range(first, len(stack) - 1, 2):
            key = stack[at]
            if isinstance(key, str) and key in keys:
                place = (self.starts[at + 1], self.ends[at + 1])
                value = PlacedValue(stack[first - 1], key, place, is_single)
                self.places.values.append(value)

    def note_items(self, target: Any, starts: array[int], ends: array[int]) -> None:
        """Note how the items that `target` gets can be dropped."""
        items = self.places.items.get(id(target))
        if items is None:
            self.budget.hold(_NOTED)
            items = self.places.items[id(target)] = Items(target)
        items.starts.extend(starts)
        items.ends.extend(ends)

    def note_first_number(self, place: Place) -> None:
        """Note the place of the first number in the tuple on the top."""
        numbers = self.stack[-1]
        if numbers[0] >= _SMALL and all(type(number) is int for number in numbers):
            self.budget.hold(_NOTED)
            self.places.first_numbers[id(numbers)] = numbers, place

    def _hexadecimal(self, line: str) -> int:
        raise UnsupportedCheckpoint("its pickle is not one that Python's pickler writes")


_Does = Callable[[_PlacedMachine], None]


def _pushing(does: _Does) -> _Does:
    """An opcode that puts one value on the stack, and takes none."""

    def pushing(machine: _PlacedMachine) -> None:
        start = machine.start = machine.at - 1
        does(machine)
        machine.starts.append(start)
        machine.ends.append(machine.at)

    return pushing


def _keeping(does: _Does) -> _Does:
    """An opcode that keeps the top of the stack in the memo: part of how that value is made."""

    def keeping(machine: _PlacedMachine) -> None:
        machine.start = machine.at - 1
        does(machine)
        machine.ends[-1] = machine.at

    return keeping


def _counting(does: _Does) -> _Does:
    """The one that finds its slot by counting."""
    keeping = _keeping(does)

    def counting(machine: _PlacedMachine) -> None:
        machine.places.counts_slots = True
        keeping(machine)

    return counting


def _taking(does: _Does) -> _Does:
    """An opcode that makes one value of what it takes from the stack, or fills the top with it."""

    def taking(machine: _PlacedMachine) -> None:
        start = machine.at - 1
        does(machine)
        starts, ends, size = machine.starts, machine.ends, len(machine.stack)
        if len(machine.marks) < len(machine.opened):
            start = machine.opened.pop()  # a group starts with its mark
        if size > len(starts):
            starts.append(start)
            ends.append(machine.at)
        else:
            del starts[size:], ends[size:]
            starts[-1] = min(starts[-1], start)
            ends[-1] = machine.at

    return taking


def _setting_one(does: _Does) -> _Does:
    """The opcode that sets an item of a dict: the value is noted."""
    taking = _taking(does)

    def setting(machine: _PlacedMachine) -> None:
        machine.note_values(len(machine.stack) - 2, is_single=True)
        taking(machine)

    return setting


def _setting_group(does: _Does) -> _Does:
    """The one that sets all items down to the mark."""
    taking = _taking(does)

    def setting(machine: _PlacedMachine) -> None:
        machine.note_values(machine.marks[-1], is_single=False)
        taking(machine)

    return setting


def _appending_one(does: _Does) -> _Does:
    """The opcode that appends the top to a list: a `POP` in its place drops it."""
    taking = _taking(does)

    def appending(machine: _PlacedMachine) -> None:
        at = machine.at
        taking(machine)
        machine.note_items(machine.stack[-1], array("Q", (at - 1,)), array("Q", (at,)))

    return appending


def _appending_group(does: _Does) -> _Does:
    """The one that appends all items down to the mark: a `POP` behind an item drops it."""
    taking = _taking(does)

    def appending(machine: _PlacedMachine) -> None:
        ends = machine.ends[machine.marks[-1] :] if machine.marks else array("Q")
        taking(machine)
        machine.note_items(machine.stack[-1], ends, ends)

    return appending


def _making_tuple(count: int) -> Callable[[_Does], _Does]:
    """The opcode that makes a tuple of `count` items, or with 0 of all down to the mark."""

    def with_first_number(does: _Does) -> _Does:
        taking = _taking(does)

        def making(machine: _PlacedMachine) -> None:
            size, marks = len(machine.stack), machine.marks
            first = size - count if count else marks[-1] if marks else size
            if not 0 <= first < size or type(machine.stack[first]) is not int:
                taking(machine)
                return
            place = machine.starts[first], machine.ends[first]
            taking(machine)
            machine.note_first_number(place)

        return making

    return with_first_number


def _dropping(does: _Does) -> _Does:
    """One that only takes: what it leaves on the top is not of its making."""

    def dropping(machine: _PlacedMachine) -> None:
        does(machine)
        size = len(machine.stack)
        del machine.starts[size:], machine.ends[size:], machine.opened[len(machine.marks) :]

    return dropping


def _marking(does: _Does) -> _Does:
    def marking(machine: _PlacedMachine) -> None:
        machine.opened.append(machine.at - 1)
        does(machine)

    return marking


def _framing(does: _Does) -> _Does:
    def framing(machine: _PlacedMachine) -> None:
        start = machine.at - 1
        does(machine)
        machine.places.frames.append((start, machine.at))

    return framing


_PUSHING = b"N\x88\x89IJKLMFG\x8a\x8bSTUVX\x8c\x8d\x8eBC\x96])}\x8f2ghjc\x82\x83\x84P"
_OTHERS: dict[int, Callable[[_Does], _Does]] = {
    **dict.fromkeys(_PUSHING, _pushing),
    **dict.fromkeys(b"pqr", _keeping),
    **dict.fromkeys(b"01", _dropping),
    b"\x94"[0]: _counting,
    b"("[0]: _marking,
    b"\x95"[0]: _framing,
    b"\x80"[0]: lambda does: does,
    b"s"[0]: _setting_one,
    b"u"[0]: _setting_group,
    b"a"[0]: _appending_one,
    b"e"[0]: _appending_group,
    b"t"[0]: _making_tuple(0),
    b"\x85"[0]: _making_tuple(1),
    b"\x86"[0]: _making_tuple(2),
    b"\x87"[0]: _making_tuple(3),
}
_PLACE = 16
"""Bytes that the place of a value, or of a use of the memo, takes."""
_NOTED = 320
"""Bytes that it takes to keep places about a list or tuple."""
_SMALL = 16
"""The first number of a tuple from which on its place is kept: shapes of short arrays, of which
there may be millions, are of no interest."""


_NOTING: dict[int, _Does] = {
    b"h"[0]: lambda machine: machine.recall(machine._byte()),
    b"j"[0]: lambda machine: machine.recall(machine._uint4()),
    b"q"[0]: lambda machine: machine.keep(machine._byte()),
    b"r"[0]: lambda machine: machine.keep(machine._uint4()),
}
"""Opcodes that fill a slot of the memo or ask for one, in terms of methods that note which."""


def _with_places(code: int, opcode: Opcode) -> Opcode:
    does, holds = opcode
    return _OTHERS.get(code, _taking)(_NOTING.get(code, does)), holds + _PLACE


_PlacedMachine.opcodes = tuple(
    _with_places(code, opcode) for code, opcode in enumerate(Machine.opcodes)
)
