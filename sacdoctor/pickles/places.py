"""Pickles read together with where in their bytes the values of their dicts stand.

Whoever changes single numbers of a pickle, and copies all else, needs to know their places.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.pickles.budget import WalkBudget
from sacdoctor.pickles.machine import Machine, Opcode
from sacdoctor.pickles.vocabulary import Vocabulary

Place = tuple[int, int]
"""Start and end of some bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class PlacedValue:
    """The bytes that make the value which `target` (a dict, or what stands for one) gets for `key`.

    They end behind the last opcode that puts the value on the stack, keeps it or fills it.
    """

    target: Any
    key: str
    place: Place


@dataclass(slots=True)
class Places:
    """Where things stand in a pickle.

    `values` are those under the keys that were asked for, in the order in which dicts get them.
    `frames` are the opcodes that announce a frame; a pickle is as good without them. `kept` and
    `recalled` are the slots of the memo and the positions of the opcodes that fill and ask for
    them, pair by pair; `counts_slots` says whether an opcode (MEMOIZE) finds its slot by counting
    those before it.
    """

    values: list[PlacedValue] = field(default_factory=list)
    frames: list[Place] = field(default_factory=list)
    kept: array[int] = field(default_factory=lambda: array("Q"))
    recalled: array[int] = field(default_factory=lambda: array("Q"))
    counts_slots: bool = False

    def kept_within(self, place: Place) -> set[int]:
        """Return the slots that the bytes at `place` fill."""
        pairs = zip(self.kept[::2], self.kept[1::2], strict=True)
        return {slot for slot, at in pairs if place[0] <= at < place[1]}

    def recalls_of(self, slots: Collection[int]) -> list[int]:
        """Return where any of these slots is asked for."""
        pairs = zip(self.recalled[::2], self.recalled[1::2], strict=True)
        return [at for slot, at in pairs if slot in slots]


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
        self.places.kept.extend((slot, self.start))

    def recall(self, slot: int) -> None:
        super().recall(slot)
        self.places.recalled.extend((slot, self.start))

    def note_values(self, first: int) -> None:
        """Note the places of the values that the dict below `first` is about to get."""
        stack, keys = self.stack, self.keys
        if first < 1:
            return
        for at in range(first, len(stack) - 1, 2):
            key = stack[at]
            if isinstance(key, str) and key in keys:
                place = (self.starts[at + 1], self.ends[at + 1])
                self.places.values.append(PlacedValue(stack[first - 1], key, place))

    def _number(self, line: str) -> int:
        if line.lower().startswith(("0x", "-0x")):
            raise UnsupportedCheckpoint("its pickle is not one that Python's pickler writes")
        return super()._number(line)


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


def _setting(does: _Does, first: Callable[[_PlacedMachine], int]) -> _Does:
    """One that sets items: the values from `first` on, each behind its key, are noted."""
    taking = _taking(does)

    def setting(machine: _PlacedMachine) -> None:
        machine.note_values(first(machine))
        taking(machine)

    return setting


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
    b"s"[0]: lambda does: _setting(does, lambda machine: len(machine.stack) - 2),
    b"u"[0]: lambda does: _setting(does, lambda machine: machine.marks[-1]),
}
_PLACE = 16
"""Bytes that the place of a value, or of a use of the memo, takes."""


def _with_places(code: int, opcode: Opcode) -> Opcode:
    does, holds = opcode
    return _OTHERS.get(code, _taking)(does), holds + _PLACE


_PlacedMachine.opcodes = tuple(
    _with_places(code, opcode) for code, opcode in enumerate(Machine.opcodes)
)
