"""How far a buffer is filled: what counters mean is worked out by hand for buffers of ten rows."""

from __future__ import annotations

from typing import Any

import pytest

from sacdoctor.replay.filling import filling


def free_from(first: int) -> Any:
    """A buffer whose rows from `first` on are zero."""
    return lambda start: start >= first


@pytest.mark.parametrize(
    ("numbers", "free", "expected"),
    [
        ({}, 10, (10, 0)),
        ({}, 4, (10, 0)),  # zeros alone prove nothing
        ({"ptr": 4, "size": 4, "max_size": 10}, 4, (4, 4)),
        ({"ptr": 4, "size": 10, "max_size": 10}, 10, (10, 4)),
        ({"ptr": 0, "size": 10}, 10, (10, 0)),
        ({"_ptr": 4, "_size": 4}, 4, (4, 4)),
        ({"pos": 4, "full": False}, 10, (4, 4)),
        ({"pos": 4, "full": True}, 10, (10, 4)),
        ({"pos": 10, "full": True}, 10, (10, 0)),
        ({"idx": 4, "size": 10}, 4, (4, 4)),  # `size` is the room
        ({"position": 4}, 4, (4, 4)),
        ({"position": 4}, 10, (10, 4)),
        ({"mem_cntr": 4, "mem_size": 10}, 4, (4, 4)),
        ({"mem_cntr": 14, "mem_size": 10}, 10, (10, 4)),
        ({"size": 4}, 4, (4, 4)),
        ({"size": 4}, 10, (10, 0)),  # a size of something else: other rows are filled
        ({"ptr": 99}, 10, (10, 0)),
        ({"ptr": -1, "size": True}, 10, (10, 0)),
    ],
)
def test_counters_and_rows_say_it_together(numbers: Any, free: int, expected: Any) -> None:
    found = filling(numbers, 10, free_from(free))
    assert (found.size, found.pos) == expected


@pytest.mark.parametrize(
    ("numbers", "free", "after"),
    [
        ({"ptr": 4, "size": 10, "max_size": 10}, 10, {"ptr": 7, "size": 7}),
        ({"pos": 4, "full": True}, 10, {"pos": 7, "full": False}),
        ({"idx": 4, "size": 10}, 4, {"idx": 7}),
        ({"mem_cntr": 14}, 10, {"mem_cntr": 7}),
        ({"size": 4}, 10, {}),
    ],
)
def test_counters_are_set_and_what_is_none_is_left(numbers: Any, free: int, after: Any) -> None:
    assert filling(numbers, 10, free_from(free)).after(7) == after


@pytest.mark.parametrize(
    ("numbers", "expected"), [({}, (10, 0)), ({"position": 4}, (10, 4)), ({"size": 4}, (10, 0))]
)
def test_lists_have_no_room(numbers: Any, expected: Any) -> None:
    found = filling(numbers, 10, None)
    assert (found.size, found.pos) == expected
