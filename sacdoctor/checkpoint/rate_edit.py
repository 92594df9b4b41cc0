"""The learning rate in an optimizer's pickle: another number in its place, all else as it was."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.pickles import PlacedValue, Places, Symbols, WalkBudget, read_placed_pickle

_KEY = "lr"


def with_rate(pickle: bytes, rate: float, budget: WalkBudget | None = None) -> bytes:
    """Return an optimizer state's pickle with `rate` under every key `lr`.

    The rates in it may be numbers, numpy scalars or tensors. `budget` is that of the file it
    stands in, as `read_pickle` takes it. Raises `UnsupportedCheckpoint` where it has no rate, or
    is spelled as no pickler of Python's does.
    """
    _, places = read_placed_pickle(memoryview(pickle), Symbols(), (_KEY,), budget)
    values = _outermost(places.values)
    if not values:
        raise UnsupportedCheckpoint("no learning rate was found in its parameter groups")
    number = b"G" + struct.pack(">d", rate)
    key = _KEY.encode()
    again = b"X" + struct.pack("<I", len(key)) + key + number
    # A frame announces its length, which may change; a pickle is as good without frames.
    changes = [(start, end, b"") for start, end in places.frames]
    for value, may_go in zip(values, _may_go(values, places), strict=True):
        start, end = value.place
        if may_go:
            changes.append((start, end, number))
        else:
            # Something else recalls a part of the old value. It stays, and the key comes again:
            # of two entries under one key a dict keeps the second.
            changes.append((end, end, b"s" + again if value.is_single else again))
    return b"".join(_pieces(pickle, changes))


def _outermost(values: Iterable[PlacedValue]) -> list[PlacedValue]:
    """Return the values in the order of their places, without those that lie inside another."""
    found: list[PlacedValue] = []
    for value in sorted(values, key=lambda value: (value.place[0], -value.place[1])):
        if not found or value.place[0] >= found[-1].place[1]:
            found.append(value)
    return found


def _may_go(values: Sequence[PlacedValue], places: Places) -> list[bool]:
    """Return for each value whether nothing that stays needs what its bytes keep in the memo.

    What is kept is recalled later on, so the last value is decided first.
    """
    goes = [False] * len(values)
    starts = [value.place[0] for value in values]
    recalls = places.recalled.by_slot()

    def is_gone(at: int) -> bool:
        number = bisect_right(starts, at) - 1
        return number >= 0 and at < values[number].place[1] and goes[number]

    for number in reversed(range(len(values))):
        slots = places.kept.within(values[number].place)
        goes[number] = True  # as far as its own recalls are concerned
        goes[number] = not slots or (
            not places.counts_slots  # cut out, it would shift all later slots
            and all(is_gone(at) for slot in slots for at in recalls.get(slot, ()))
        )
    return goes


def _pieces(pickle: bytes, changes: Iterable[tuple[int, int, bytes]]) -> Iterator[bytes]:
    """Yield the pickle with the bytes at each place changed, but for places inside another."""
    at = 0
    for start, end, new in sorted(changes):
        if start >= at:
            yield pickle[at:start]
            yield new
            at = end
    yield pickle[at:]
