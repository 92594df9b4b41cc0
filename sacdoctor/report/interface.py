"""What a format is: a value that says which results it can show, and shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TextIO, TypeVar

R = TypeVar("R")


class View(NamedTuple, Generic[R]):
    """How a format shows one kind of result.

    `kind` is a type from `report.results`; `write` writes one such result to a text file, piece
    by piece where the result comes so. What is slow to import, it imports when it is called.
    """

    kind: type[R]
    write: Callable[[R, TextIO], None]


class Format(NamedTuple):
    """A way to write results: what `--format` takes as `name`.

    `help` says what it is in a few words, as part of a sentence, e.g. `JSON for scripts`.
    """

    name: str
    help: str
    views: tuple[View[Any], ...]

    def shows(self, kind: type) -> bool:
        """Return whether it can show results of this kind."""
        return any(view.kind is kind for view in self.views)

    def write(self, result: object, file: TextIO) -> None:
        """Write `result` to `file`. Raises `TypeError` for a kind that it does not show."""
        for view in self.views:
            if view.kind is type(result):
                view.write(result, file)
                return
        raise TypeError(f"format {self.name!r} shows no {type(result).__name__}")
