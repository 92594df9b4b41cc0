"""How far a buffer is filled, by the counters that stand beside its arrays.

Buffers count in different ways: a position and how many rows are filled (Spinning Up, TD3), a
position and whether it is full (SB3), one number that counts all that was ever stored
(`mem_cntr`). What a number is, its name says, and the rows: those that were never filled are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

Numbers = Mapping[str, int | bool]
"""Whole numbers and truth values beside the arrays, by name."""
Role = Literal["size", "position", "count", "full"]

_SPELLINGS: dict[str, Role] = {
    **dict.fromkeys(
        [
            "size",
            "current_size",
            "curr_size",
            "cur_size",
            "length",
            "current_length",
            "cur_len",
            "num_transitions",
            "n_transitions",
            "num_stored",
            "n_stored",
            "num_entries",
            "n_entries",
            "num_in_buffer",
            "buffer_len",
        ],
        "size",
    ),
    **dict.fromkeys(
        [
            "ptr",
            "pos",
            "position",
            "pointer",
            "idx",
            "index",
            "cursor",
            "next_idx",
            "next_index",
            "insert_idx",
            "insert_index",
            "write_idx",
            "curr_idx",
            "cur_idx",
            "current_idx",
            "current_index",
            "next_ind",
            "buffer_pointer",
            "buffer_index",
            "buffer_ptr",
            "mem_ptr",
            "mem_idx",
        ],
        "position",
    ),
    **dict.fromkeys(
        [
            "mem_cntr",
            "mem_ctr",
            "mem_cnt",
            "mem_counter",
            "memory_counter",
            "buffer_counter",
            "cntr",
            "counter",
        ],
        "count",
    ),
    **dict.fromkeys(("full", "is_full"), "full"),
}
PRIVATE = ("", "_", "__")
COUNTERS = frozenset(private + name for name in _SPELLINGS for private in PRIVATE)
"""All names of counters."""


class Filling(Struct, frozen=True):
    """`size` rows are filled; where that is all, the oldest stands at `pos`, else there is `size`.

    `counters` are the numbers that say so: with fewer rows filled they must say that.
    """

    size: int
    pos: int
    counters: Mapping[str, Role]

    def after(self, size: int) -> dict[str, int | bool]:
        """Return what the counters say of `size` rows that stand in order, with room behind."""
        return {name: False if role == "full" else size for name, role in self.counters.items()}


def filling(numbers: Numbers, rows: int, is_empty_from: Callable[[int], bool] | None) -> Filling:
    """Return how far `rows` rows are filled.

    `is_empty_from` tells whether all rows from one on are zero; None for lists, whose rows are all
    filled. A counter that neither another one nor the rows confirm is none.
    """
    found: dict[Role, tuple[str, int]] = {}
    for name, value in numbers.items():
        role = _SPELLINGS.get(name.lstrip("_").lower())
        if role is not None and (role == "full" or type(value) is int) and value >= 0:
            found.setdefault(role, (name, int(value)))
    values = {role: value for role, (_, value) in found.items()}
    size, pos = _filled(values, rows, is_empty_from)
    means: dict[Role, int] = {"size": size, "full": int(size == rows)}
    counters = {
        name: role
        for role, (name, value) in found.items()
        if means.get(role, value) == value and (role != "position" or value <= rows)
    }
    return Filling(size, pos if size == rows else size, counters)


def _filled(
    values: Mapping[Role, int], rows: int, is_empty_from: Callable[[int], bool] | None
) -> tuple[int, int]:
    size, position = values.get("size"), values.get("position")
    if position is not None and position > rows:
        position = None
    if is_empty_from is None:
        return rows, (position or 0) % rows
    full, count = values.get("full"), values.get("count")
    if full is not None and position is not None:
        return (rows, position % rows) if full else (position, position)
    if size is not None and size < rows and (size == position or is_empty_from(size)):
        return size, size
    if position is not None:
        # `size` may be the room; of the rows behind the position some would differ from zero.
        is_free = position < rows and is_empty_from(position)
        return (position, position) if is_free else (rows, position % rows)
    if count is not None and (count >= rows or is_empty_from(count)):
        return min(count, rows), count % rows
    return rows, 0
