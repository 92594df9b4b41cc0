"""Markdown: what a reader makes of it shows names as they are, and obeys none."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from msgspec.structs import replace

from sacdoctor import Report, scan
from tests.report.formats.reports import all_kinds, hostile, shown, unreadable


class Page(HTMLParser):
    """The tags and the text of a page; each element's text is a piece of its own."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.pieces: list[str] = []
        self.cells = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.cells += tag == "td"

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def page(*reports: Report) -> Page:
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return Page(reader.render(shown("markdown", *reports)))


def test_names_from_files_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    path = hostile(tmp_path)
    found = page(scan(path))
    assert not found.tags & {"img", "b", "a", "script", "del"}
    assert found.cells == 3
    text = "".join(found.pieces)
    assert path.name in text
    assert "<img src=x>](http://e.x)" in text.replace("'", "`")
    assert "\x1b" not in text


def test_nobody_is_mentioned_and_nothing_becomes_a_link(tmp_path: Path) -> None:
    """GitHub looks for both in each piece of the text that is shown."""
    report = replace(scan(hostile(tmp_path)), path="@me/#1 www.e.x http://e.x")
    found = page(report)
    summary = [piece for piece in found.pieces if piece == report.path]
    pieces = [piece for piece in found.pieces if piece not in summary]
    assert summary  # in <code>, where GitHub does not look
    assert not any(re.search(r"@\w|#\d|http://|www[.]\w", piece) for piece in pieces)


def test_every_file_has_a_row_and_the_worst_come_first(
    healthy: Path, broken: Path, tmp_path: Path
) -> None:
    reports = all_kinds(healthy, broken, tmp_path)
    text = shown("markdown", *reports)
    assert text.startswith("### sacdoctor: 1 error, 2 critical, 1 healthy\n")
    assert page(*reports).cells == 12


def test_code_in_a_remedy_is_a_block_of_code(broken: Path) -> None:
    assert "```\nself.optimizer = self.optimizer_class(\n" in shown("markdown", scan(broken))


def test_it_fits_into_a_comment_however_much_was_found(broken: Path) -> None:
    report = scan(broken)
    text = shown("markdown", *[report] * 300)
    assert len(text) < 65_536
    assert "--format json` has all" in text


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert "it is a folder" in shown("markdown", unreadable(tmp_path))
