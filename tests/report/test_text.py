"""The small pieces: names made harmless, numbers and plurals, lines that break well."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacdoctor.printable import printable
from sacdoctor.report.text import counted, flow


@given(st.text())
def test_printable_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    assert all(unicodedata.category(c)[0] != "C" for c in printable(text))
    assert "\n" not in printable(text)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp.zip", "\\u202egnp.zip"),
        ("\ud800", "\\ud800"),
        ("ümlaut 名", "ümlaut 名"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 tensors"), (1, "1 tensor"), (2, "2 tensors"), (1234, "1,234 tensors")],
)
def test_counted(number: int, words: str) -> None:
    assert counted(number, "tensor") == words


@given(st.lists(st.text("abc", min_size=1, max_size=9)), st.integers(9, 40))
def test_flow_loses_nothing_and_keeps_within_the_width(pieces: list[str], width: int) -> None:
    text = flow(pieces, width)
    assert text.replace("\n", "") == "".join(pieces)
    assert all(len(line) <= width for line in text.split("\n"))


def test_flow_breaks_only_between_pieces() -> None:
    assert flow(["one.", "two.", "three"], 8, "  ") == "one.two.\n  three"
