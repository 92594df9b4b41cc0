"""Pages taken apart by Python's own parser: what is an element there, and what is text."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any

from sacdoctor.report.formats import FORMATS

ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section"),
    *("article", "div", "p", "span", "strong", "b", "i", "h1", "h2", "h3", "h4", "ul", "ol", "li"),
    *("dl", "dt", "dd", "code", "pre", "details", "summary", "figure", "figcaption", "a", "wbr"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "g", "path", "text", "use", "defs", "clippath", "rect"),
}
"""All that a page is made of. None of them runs a script or loads anything."""
VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """A page's elements with their attributes, and its text. What opens closes."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        """The values of an attribute, of all elements that have it."""
        return [given[name] for _, given in self.elements if name in given]

    def refuse_what_acts(self) -> None:
        """Fail where an element, a handler or an address could run or load anything."""
        assert {tag for tag, _ in self.elements} <= ELEMENTS
        names = {name for _, given in self.elements for name in given}
        assert not {name for name in names if name.startswith("on")}
        assert not names & {"src", "srcset", "action", "formaction", "data", "background"}
        assert all(value.startswith("#") for value in self.attributes("href"))
        styles = self.attributes("style")
        assert not any("url(" in style for style in styles)


def page_of(result: Any) -> Page:
    """The page of a result from `report.results`."""
    file = io.StringIO()
    FORMATS["html"].write(result, file)
    file.getvalue().encode()  # no half of a character that a file could not hold
    return Page(file.getvalue())
