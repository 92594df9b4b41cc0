"""The console that the tables are printed on."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console

_UNBROKEN = 400
"""Columns for output that is not a terminal, so that no name is broken over two lines there."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # for whoever opened the file; rich would exit with 1


def console(file: TextIO) -> Console:
    """Return a console on `file`: colours and wrapped lines only at a terminal."""
    width = None if file.isatty() or "COLUMNS" in os.environ else _UNBROKEN
    # Without colour rich would still write bold and dim; NO_COLOR asks for plain text.
    plain = False if os.environ.get("NO_COLOR") else None
    return _Console(
        file=file, width=width, force_terminal=plain, highlight=False, markup=False, emoji=False
    )
