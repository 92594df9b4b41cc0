"""One target in, its report out: a file on this machine, or one that is fetched for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet.address import Address
from sacdoctor.fleet.copying import alone
from sacdoctor.fleet.fetched import fetched_copy
from sacdoctor.fleet.patience import Patience, Unfetched
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions
from sacdoctor.trust import holds_hidden_pickle

if TYPE_CHECKING:
    from sacdoctor.fleet.ranges import RemoteRanges

Target = Path | Address | SacdoctorError
"""A checkpoint to open, or why there is none at the place that was asked for."""

_ARRAYS = ".npz"


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
    options = alone(options)
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
