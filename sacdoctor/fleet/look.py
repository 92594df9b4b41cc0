"""One target in, its report out: a file on this machine, or one that is fetched for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct, field
from msgspec.structs import replace

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis import (
    Facts,
    looks_at_code_alone,
    report_of_error,
    report_on,
    scan,
)
from sacdoctor.diagnosis.rules import normalisation_mismatch, normalisation_missing
from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet.address import Address, is_address
from sacdoctor.fleet.patience import Patience, Unfetched, in_words
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions
from sacdoctor.trust import holds_hidden_pickle

if TYPE_CHECKING:
    from sacdoctor.fleet.drivers import Place
    from sacdoctor.fleet.ranges import RemoteRanges

Target = Path | Address | SacdoctorError
"""A checkpoint to open, or why there is none at the place that was asked for."""

_BESIDE = (normalisation_missing.RULE.code, normalisation_mismatch.RULE.code)
"""Rules about what lies beside a file: beside a copy there is nothing, which says nothing."""
_ARRAYS = ".npz"
_MOST_LETTERS = 100
_FREE = 256 * 1024**2
"""Bytes of the disk that are left free."""
_ASKED = 64 * 1024**2
"""Bytes that are written before it is asked again how many are free."""


class Look(Struct, frozen=True):
    """How a target is looked at: what a worker has to know, wherever it is at work."""

    options: ScanOptions
    patience: Patience = field(default_factory=Patience)

    def __call__(self, target: Target) -> Report | None:
        """Return the report of a target; one that cannot be read has status `error`.

        None for an address that is not asked for and holds no pickle.
        """
        try:
            if isinstance(target, SacdoctorError):
                raise target
            if isinstance(target, Address):
                return _report_from_afar(target, self.options, self.patience)
            return scan(target, self.options)
        except SacdoctorError as error:
            return report_of_error(error, self.options)


def report_on_copy(path: Path, name: str, options: ScanOptions) -> Report:
    """Return the report of a file that is kept at `path` for a moment, and is called `name`."""
    options = replace(options, ignore=(*options.ignore, *_BESIDE))
    try:
        report = scan(path, options)
    except SacdoctorError as error:
        report = report_of_error(error.at(path), options)
    return replace(report, path=name)


def _report_from_afar(address: Address, options: ScanOptions, patience: Patience) -> Report | None:
    from sacdoctor.fleet.drivers import place_of
    from sacdoctor.fleet.ranges import ranges_of

    try:
        place = place_of(address, patience)
        if looks_at_code_alone(options) and not address.name.lower().endswith(_ARRAYS):
            ranges = ranges_of(place)
            if ranges is not None:
                name = Path(address.name)
                if not address.is_asked_for and not holds_hidden_pickle(name, ranges):
                    return None
                report = _of_parts(address, ranges, options) if ranges.is_zip else None
                if report is not None:
                    return report
        with fetched_copy(place) as path:
            if not address.is_asked_for and not holds_hidden_pickle(path):
                return None
            return report_on_copy(path, str(address), options)
    except SacdoctorError as error:
        error.path = str(address)
        return report_of_error(error)


def _of_parts(address: Address, ranges: RemoteRanges, options: ScanOptions) -> Report | None:
    """Return the report from parts of the file; None where it is needed whole.

    What seems to be damage may come of a file that changes meanwhile, and of what is no checkpoint
    more can be said.
    """
    try:
        with Checkpoint(address.name, ranges=ranges) as checkpoint:
            report = report_on(Facts(checkpoint, options.components, options.trusted), options)
    except Unfetched:
        raise
    except SacdoctorError:
        return None
    return replace(report, path=str(address))


@contextmanager
def fetched_copy(place: Place) -> Iterator[Path]:
    """Give the path of a copy of a file, which is removed afterwards; raises `SacdoctorError`."""
    from tempfile import TemporaryDirectory

    with ExitStack() as stack:
        try:
            folder = stack.enter_context(TemporaryDirectory(prefix="sacdoctor-"))
            path = Path(folder) / (place.address.name.replace("\0", "")[-_MOST_LETTERS:] or "file")
            _fetch(place, path)
        except OSError as error:
            raise SacdoctorError(f"it cannot be kept: {error.strerror or error}") from None
        yield path


@contextmanager
def brought_here(path: str) -> Iterator[str]:
    """Give a path for one that may be an address: that of a copy, which is removed afterwards.

    What goes wrong within names the address. Raises `SacdoctorError` where it is not to be had.
    """
    if not is_address(path) or os.path.lexists(path):
        yield path
        return
    from sacdoctor.fleet.drivers import place_of

    address, copy = Address(path), None
    try:
        with fetched_copy(place_of(address, Patience())) as copy:
            yield str(copy)
    except SacdoctorError as error:
        if error.path is None or str(error.path) == str(copy):
            error.path = str(address)
        raise


def _fetch(place: Place, path: Path) -> None:
    def anew() -> None:
        with path.open("wb") as file:
            place.stream_into(_Kept(file))

    try:
        place.patience.again(anew)
    except Exception as error:
        raise in_words(error, place.address) from None


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
