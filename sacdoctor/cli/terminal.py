"""Where output goes: stdout or a file, and a progress bar that only a terminal sees."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from sacdoctor.errors import SacdoctorError

MANY = 5
"""From how many files on a progress bar is worth its line."""


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Give the file to write a result to: `path`, or stdout where it is None.

    A file is there complete at the end of the block, or stays as it was; a pipe or a device, such
    as /dev/stdout, is written to as it is. Raises `SacdoctorError` where it cannot be written.
    """
    if path is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except SacdoctorError:  # which may be a FileNotFoundError, too
            raise
        except BrokenPipeError:  # the reader (`head`, `less`) has seen enough
            drop_output()
        except OSError as error:  # a full disk behind `> report.txt`
            drop_output()
            raise _unwritten(error, "standard output") from None
        return
    if os.path.exists(path) and not path.is_file() and not path.is_dir():
        try:
            with path.open("w", encoding="utf-8") as stream:
                yield stream
        except SacdoctorError:
            raise
        except OSError as error:
            raise _unwritten(error, path) from None
        return
    from sacdoctor.files import replacing

    with replacing(path) as raw:
        file = TextIOWrapper(raw, encoding="utf-8")
        try:
            yield file
        finally:
            file.detach()


def _unwritten(error: OSError, where: str | Path) -> SacdoctorError:
    return SacdoctorError(f"it cannot be written: {error.strerror or error}", where)


def drop_output() -> None:
    """Send what is still to come on stdout nowhere; Python would complain about it on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress(total: int, doing: str) -> Iterator[Callable[[], None]]:
    """Give a function to call after each of `total` files; a bar on stderr shows them."""
    if total < MANY or not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)
