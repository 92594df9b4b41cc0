"""Numbers as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacdoctor.settings.numbers import Written, read_number, spelled, write_count, write_number


@pytest.mark.parametrize(
    ("text", "number", "linear"),
    [
        ("5e-3", 0.005, False),
        ("5.0e-3", 0.005, False),
        ("5E-3", 0.005, False),
        (".005", 0.005, False),
        ("5_000", 5000.0, False),
        ("+1", 1.0, False),
        ("-1e-3", -0.001, False),
        ("lin_7.3e-4", 7.3e-4, True),
        (".inf", math.inf, False),
    ],
)
def test_what_is_a_number(text: str, number: float, linear: bool) -> None:
    assert read_number(text) == Written(number, linear)


@pytest.mark.parametrize(
    "text", ["", "lin_", "auto", "linear_schedule(5e-3)", "1e", "0x10", "5e-3 # no", "1 2", "é"]
)
def test_what_is_none(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("like", "dotted", "text"),
    [
        ("5e-3", False, "1e-4"),
        ("5e-3", True, "1.0e-4"),
        ("0.005", True, "0.0001"),
        ("lin_5e-3", True, "lin_1e-4"),
        ("lin_0.005", True, "lin_0.0001"),
    ],
)
def test_a_number_is_written_as_the_one_before_it(like: str, dotted: bool, text: str) -> None:
    assert write_number(1e-4, like, dotted=dotted) == text


@given(
    st.floats(min_value=1e-12, max_value=1e6),
    st.sampled_from(["5e-3", "0.1", "lin_5e-3", "lin_1", "7", "1E-4"]),
    st.booleans(),
)
def test_what_is_written_reads_as_the_same_number(number: float, like: str, dotted: bool) -> None:
    written = read_number(write_number(number, like, dotted=dotted))
    assert written == Written(number, like.startswith("lin_"))


def test_counts_keep_their_underscores() -> None:
    assert write_count(5000, "20_000") == "5_000"
    assert write_count(5000, "20000") == "5000"


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-4, "1e-4"), (7.3e-4, "7.3e-4"), (0.02, "0.02"), (1.0, "1"), (5000, "5000")],
)
def test_numbers_in_messages(number: float, text: str) -> None:
    assert spelled(number) == text
