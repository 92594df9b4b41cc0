"""Pickles read together with where in their bytes the values of their dicts stand.

Whoever changes single numbers of a pickle, and copies all else, needs to know their places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sacdoctor.pickles.machine import HANDLERS, Machine, Vocabulary

Place = tuple[int, int]
"""Start and end of some bytes."""

_STOP, _SETITEM, _SETITEMS, _FRAME = b"."[0], b"s"[0], b"u"[0], b"\x95"[0]


@dataclass(slots=True)
class Places:
    """Where things stand in a pickle.

    `values` has, by the `id` of each dict that the pickle fills, the place of each key's value
    where one opcode alone puts it there (numbers, True, False, None). `frames` are the opcodes
    that announce a frame; a pickle is as good without them.
    """

    values: dict[int, dict[str, Place]] = field(default_factory=dict)
    frames: list[Place] = field(default_factory=list)


def read_placed_pickle(data: memoryview, vocabulary: Vocabulary) -> tuple[Any, Places]:
    """Return what `read_pickle` returns, and the places.

    All bytes come as slices of `data`, however short. Raises as `read_pickle` does.
    """
    machine = _PlacedMachine(data, vocabulary)
    return machine.run(), machine.places


class _PlacedMachine(Machine):
    """Keeps, beside the stack, the place of the opcode that pushed each value."""

    large = 1

    def __init__(self, data: memoryview, vocabulary: Vocabulary) -> None:
        super().__init__(data, vocabulary)
        self.places = Places()

    def _run(self) -> Any:
        data, stack, pushed = self.data, self.stack, list[Place]()
        while True:
            start = self.at
            opcode = data[start]
            self.at += 1
            if opcode == _STOP:
                return self._pop()
            if opcode in (_SETITEM, _SETITEMS):
                self._note(pushed, self.marks[-1] if opcode == _SETITEMS else len(stack) - 2)
            HANDLERS[opcode](self)
            if opcode == _FRAME:
                self.places.frames.append((start, self.at))
            # What stays on the stack keeps its place; what was made of several values has none
            # that matters here, and the place of the last opcode stands for it.
            del pushed[len(stack) :]
            pushed.extend((start, self.at) for _ in range(len(stack) - len(pushed)))

    def _note(self, pushed: list[Place], first: int) -> None:
        """Note the places of the values that the dict below `first` is about to get."""
        if first < 1:
            return
        target, group = self.stack[first - 1], self.stack[first:]
        if not isinstance(target, dict):
            return
        places = self.places.values.setdefault(id(target), {})
        for key, place in zip(group[::2], pushed[first + 1 :: 2], strict=False):
            if isinstance(key, str):
                places[key] = place
