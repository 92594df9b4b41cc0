"""What a format is: a value that says which results it can show, and shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TextIO


class Format(NamedTuple):
    """A way to write results: what `--format` takes as `name`.

    `help` says what it is in a few words, as part of a sentence, e.g. `JSON for scripts`. `views`
    has a function for each kind of result that the format can show, by its type from
    `report.results`: it writes one such result to a text file, piece by piece where the result
    comes so. What is slow to import, the function imports when it is called.
    """

    name: str
    help: str
    views: Mapping[type, Callable[[Any, TextIO], None]]

    def write(self, result: object, file: TextIO) -> None:
        """Write `result` to `file`. Raises `KeyError` for a kind that has no view."""
        self.views[type(result)](result, file)
