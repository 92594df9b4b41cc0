"""One file at an address, copied to this machine for as long as it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet.patience import Unfetched, in_words

if TYPE_CHECKING:
    from sacdoctor.fleet.drivers import Place

_FREE = 256 * 1024**2
"""Bytes of the disk that are left free."""
_ASKED = 64 * 1024**2
"""Bytes that are written before it is asked again how many are free."""


@contextmanager
def fetched_copy(place: Place) -> Iterator[Path]:
    """Give the path of a copy of a file, which is removed afterwards; raises `SacdoctorError`."""
    from tempfile import TemporaryDirectory

    with ExitStack() as stack:
        try:
            folder = stack.enter_context(TemporaryDirectory(prefix="sacdoctor-"))
            path = Path(folder) / place.address.kept_as
            fetch_into(place, path)
        except OSError as error:
            raise unkept(error) from None
        yield path


def fetch_into(place: Place, path: Path) -> None:
    """Write a file at an address to a path; raises `Unfetched`."""

    def anew() -> None:
        with path.open("wb") as file:
            place.stream_into(_Kept(file))

    try:
        place.patience.again(anew)
    except Exception as error:
        raise in_words(error, place.address) from None


def unkept(error: OSError) -> SacdoctorError:
    """Return the error about a file that has no place on this machine."""
    return SacdoctorError(f"it cannot be kept: {error.strerror or error}")


class _Kept:
    """A file that is written as long as its disk has room beside it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unasked = 0

    def write(self, part: bytes) -> None:
        import shutil

        if self._unasked <= 0:
            free = shutil.disk_usage(Path(self._file.name).parent).free
            if free < _FREE + _ASKED:
                raise Unfetched(
                    f"it cannot be kept: {free:,} bytes are free for it; TMPDIR names another disk"
                )
            self._unasked = _ASKED
        self._unasked -= len(part)
        self._file.write(part)
