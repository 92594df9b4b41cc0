"""Where the values of a pickle's dicts stand: at the bytes that make them, and nothing else."""

from __future__ import annotations

import pickle
import pickletools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacdoctor.errors import SacdoctorError, UnsupportedCheckpoint
from sacdoctor.pickles import Places, Symbols, read_pickle, read_placed_pickle
from tests.pickles.test_machine import PLAIN, PROGRAMS

NUMBERS = st.one_of(
    st.booleans(), st.none(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False)
)


def places_of(data: bytes, *keys: str) -> list[bytes]:
    """The bytes of each value under the keys."""
    _, places = read_placed_pickle(memoryview(data), Symbols(), keys)
    return [data[value.place[0] : value.place[1]] for value in places.values]


@pytest.mark.parametrize("protocol", range(6))
@settings(max_examples=40, deadline=None)
@given(number=NUMBERS, others=st.dictionaries(st.text(max_size=5), PLAIN, max_size=4))
def test_a_number_stands_where_one_opcode_puts_it(
    protocol: int, number: Any, others: dict[str, Any]
) -> None:
    others.pop("pos", None)
    value = {**others, "pos": number, "behind": 1}
    found = places_of(pickle.dumps({"held": value}, protocol), "pos")
    (place,) = [place for place in found if pickle.loads(place + b".") == number][-1:]
    (opcode, _) = pickletools.genops(place + b".")
    assert opcode[0].name not in ("PUT", "BINPUT", "MEMOIZE")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "made",
    [np.float64(0.5), [1, [2, {3: (4, 5, 6, 7)}]], ((), [], {}), "text", 2**600, {"a": 1}],
    ids=str,
)
def test_a_value_of_many_opcodes_stands_from_its_first_to_its_last(
    protocol: int, made: Any
) -> None:
    """Nothing before it is recalled in it, so its bytes are a pickle of their own."""
    data = pickle.dumps({"x": made, "behind": 0}, protocol)
    (place,) = places_of(data, "x")
    head = data[:2] if protocol > 1 else b""
    alone = pickle.loads(head + place + b".")
    assert (type(alone), alone) == (type(made), made)


@settings(max_examples=300, deadline=None)
@given(data=PROGRAMS)
def test_any_program_is_read_or_refused_with_places_as_without(data: bytes) -> None:
    def outcome(read: Any) -> str:
        try:
            read()
        except UnsupportedCheckpoint:
            return "unsupported"
        except SacdoctorError as error:
            return error.reason
        return "read"

    plain = outcome(lambda: read_pickle(data, Symbols()))
    placed = outcome(lambda: read_placed_pickle(memoryview(data), Symbols(), ("a",)))
    assert placed in (plain, "unsupported")


@pytest.mark.parametrize("protocol", [4, 5])
def test_frames_are_where_python_writes_them(protocol: int) -> None:
    data = pickle.dumps([bytes(70_000), "x" * 70_000, *range(50_000)], protocol)
    _, places = read_placed_pickle(memoryview(data), Symbols(), ())
    expected = [at for opcode, _, at in pickletools.genops(data) if opcode.name == "FRAME"]
    assert [start for start, _ in places.frames] == expected
    assert len(expected) > 1
    for start, end in reversed(places.frames):
        data = data[:start] + data[end:]
    assert len(pickle.loads(data)) == 50_002


@pytest.mark.parametrize("protocol", range(6))
def test_the_memo_is_used_where_python_says(protocol: int) -> None:
    shared = ["shared"]
    data = pickle.dumps([shared, ("text", shared), "text"], protocol)
    _, places = read_placed_pickle(memoryview(data), Symbols(), ())
    puts = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
    gets = {"GET", "BINGET", "LONG_BINGET"}
    operations = [(o.name, argument, at) for o, argument, at in pickletools.genops(data)]
    assert list(places.kept.positions) == [at for name, _, at in operations if name in puts]
    assert list(places.recalled.positions) == [at for name, _, at in operations if name in gets]
    recalled = [int(argument) for name, argument, _ in operations if name in gets]
    assert list(places.recalled.slots) == recalled
    assert places.counts_slots == (protocol >= 4)


def test_a_dict_that_gets_a_key_twice_has_both_places() -> None:
    data = b"}(X\x01\0\0\0aK\x01X\x01\0\0\0aK\x02u."
    assert places_of(data, "a") == [b"K\x01", b"K\x02"]


def test_what_was_taken_back_is_no_part_of_what_stays() -> None:
    data = b"}X\x01\0\0\0aK\x01(K\x02K\x031K\x040s."
    assert pickle.loads(data) == {"a": 1}
    assert places_of(data, "a") == [b"K\x01"]


def test_a_group_starts_with_its_mark() -> None:
    data = b"}X\x01\0\0\0a(K\x01K\x02ts."
    assert pickle.loads(data) == {"a": (1, 2)}
    assert places_of(data, "a") == [b"(K\x01K\x02t"]


def without(data: bytes, places: Places, target: Any, dropped: list[int]) -> bytes:
    """The pickle with a POP for each item that is dropped, and without frames."""
    items = places.items_of(target)
    assert items is not None
    changes = [
        *((place, b"") for place in places.frames),
        *((items.drop(n), b"0") for n in dropped),
    ]
    out, at = b"", 0
    for (start, end), new in sorted(changes):
        out, at = out + data[at:start] + new, end
    return out + data[at:]


@pytest.mark.parametrize("protocol", range(6))
@settings(max_examples=40, deadline=None)
@given(items=st.lists(PLAIN, min_size=1, max_size=6), dice=st.randoms(use_true_random=False))
def test_a_pop_drops_an_item_and_leaves_the_others(
    protocol: int, items: list[Any], dice: Any
) -> None:
    """Items that the memo shares too, and more than the 1,000 that a group holds."""
    items = [*items, items[0], *range(1001 * dice.randrange(2)), *items]
    dropped = sorted(dice.sample(range(len(items)), dice.randint(0, len(items))))
    data = pickle.dumps({"list": items, "first": items[0]}, protocol)
    made, places = read_placed_pickle(memoryview(data), Symbols(), ())
    loaded = pickle.loads(without(data, places, made["list"], dropped))
    kept = [item for number, item in enumerate(items) if number not in {*dropped}]
    np.testing.assert_equal(loaded, {"list": kept, "first": items[0]})


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("shape", [(16,), (300, 2), (70_000, 2, 3), (20, 1, 2, 3)])
def test_the_first_number_of_a_tuple_has_a_place(protocol: int, shape: tuple[int, ...]) -> None:
    data = pickle.dumps(["a", shape], protocol)
    made, places = read_placed_pickle(memoryview(data), Symbols(), ())
    place = places.first_number_of(made[1])
    assert place is not None
    assert pickle.loads(data[slice(*place)] + b".") == shape[0]


@pytest.mark.parametrize("other", [(15, 2), (16, 0.5), ("a", 16), ()])
def test_other_tuples_have_none(other: Any) -> None:
    data = pickle.dumps([other], 4)
    made, places = read_placed_pickle(memoryview(data), Symbols(), ())
    assert places.first_number_of(made[0]) is None
