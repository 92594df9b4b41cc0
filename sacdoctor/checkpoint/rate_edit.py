"""The learning rate in an optimizer's pickle: another number in its place, all else as it was."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.pickles import Place, Places, Symbols, WalkBudget, read_placed_pickle

_KEY = "lr"


def with_rate(pickle: bytes, rate: float, budget: WalkBudget | None = None) -> bytes:
    """Return an optimizer state's pickle with `rate` under every key `lr`.

    The rates in it may be numbers, numpy scalars or tensors. `budget` is that of the file it
    stands in, as `read_pickle` takes it. Raises `UnsupportedCheckpoint` where it has no rate, or
    is spelled as no pickler of Python's does.
    """
    _, places = read_placed_pickle(memoryview(pickle), Symbols(), (_KEY,), budget)
    values = [value.place for value in places.values]
    if not values:
        raise UnsupportedCheckpoint("no learning rate was found in its parameter groups")
    number = b"G" + struct.pack(">d", rate)
    key = _KEY.encode()
    again = b"X" + struct.pack("<I", len(key)) + key + number
    changes: list[tuple[int, int, bytes]] = []
    for start, end in values:
        if _may_go((start, end), values, places):
            changes.append((start, end, number))
        else:
            # Something else recalls a part of the old value. It stays, and the key comes again:
            # of two entries under one key a dict keeps the second.
            changes.append((end, end, again))
    changes += _frames(places, [(start, end) for start, end, _ in changes])
    for start, end, new in sorted(changes, reverse=True):
        pickle = pickle[:start] + new + pickle[end:]
    return pickle


def _may_go(value: Place, values: Sequence[Place], places: Places) -> bool:
    """Return whether nothing that stays needs what the bytes of this value keep in the memo."""
    kept = places.kept_within(value)
    if not kept:
        return True
    if places.counts_slots:
        return False  # cut out, it would shift all later slots
    recalls = places.recalls_of(kept)
    return all(any(start <= at < end for start, end in values) for at in recalls)


def _frames(places: Places, gone: Sequence[Place]) -> Iterator[tuple[int, int, bytes]]:
    """Yield the frames outside of what goes, to be cut: a frame announces its length, which may
    change, and a pickle is as good without."""
    for at, end in places.frames:
        if not any(start <= at < stop for start, stop in gone):
            yield at, end, b""
