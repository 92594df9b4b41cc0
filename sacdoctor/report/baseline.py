"""Findings that are known: a file of them, so that only what is new makes a command fail."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sacdoctor.errors import SacdoctorError
from sacdoctor.model import Finding
from sacdoctor.severity import Severity
from sacdoctor.version import __version__

SCHEMA_VERSION = 1
_NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,.]*(?:e[-+]?\d+)?(?![\w])", re.IGNORECASE)
_MOST_BYTES = 1 << 26


class Known(NamedTuple):
    """A finding that is known: how bad it was, and what it was about."""

    severity: Severity
    tensors: frozenset[str]
    message: str

    @classmethod
    def of(cls, finding: Finding) -> Known:
        """Return what is kept of a finding; figures in its message may change."""
        return cls(finding.severity, frozenset(finding.tensors), in_outline(finding.message))

    def covers(self, other: Known) -> bool:
        """Return whether the other is no worse than this, and about nothing more.

        Findings that name no tensor are told apart by what they say.
        """
        if other.severity.rank > self.severity.rank:
            return False
        if self.tensors and other.tensors:
            return other.tensors <= self.tensors
        return not self.tensors and not other.tensors and self.message == other.message


class Baseline(NamedTuple):
    """The known findings by file and rule; paths are as seen from `folder`, where its file lies."""

    path: str
    folder: str
    known: Mapping[tuple[str, str], tuple[Known, ...]]

    def knows(self, path: str, finding: Finding) -> bool:
        """Return whether the finding is known: about this file, no worse, and about no more."""
        entries = self.known.get((_place(path, self.folder), finding.rule), ())
        return any(known.covers(Known.of(finding)) for known in entries)


def in_outline(message: str) -> str:
    """Return a message with `#` in the place of each number."""
    return _NUMBER.sub("#", message)


def read_baseline(path: Path) -> Baseline:
    """Return the known findings in a file that `baseline_text` made.

    Raises `SacdoctorError` with the path where it cannot be read or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SacdoctorError(f"{reason}; --write-baseline writes one", path) from None
    try:
        if len(data) > _MOST_BYTES:
            raise ValueError("it is too large")
        document = json.loads(data)
        if document["schema_version"] != SCHEMA_VERSION:
            raise ValueError("it is of another version")
        known: dict[tuple[str, str], tuple[Known, ...]] = {}
        for entry in document["findings"]:
            key = (str(entry["path"]), str(entry["rule"]))
            known[key] = (*known.get(key, ()), _known(entry))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SacdoctorError("it is no baseline; --write-baseline writes one", path) from None
    return Baseline(str(path), _folder(path), known)


def _known(entry: Mapping[str, Any]) -> Known:
    tensors = frozenset(map(str, entry["tensors"]))
    return Known(Severity(entry["severity"]), tensors, str(entry["message"]))


def baseline_text(found: Iterable[tuple[str, Finding]], path: Path) -> str:
    """Return the file that makes these findings known: JSON, sorted, so that a diff shows changes.

    `path` is where it will lie: it names other files as seen from there.
    """
    folder = _folder(path)
    entries = [
        {
            "path": _place(about, folder),
            "rule": finding.rule,
            "name": finding.name,
            "severity": finding.severity,
            "tensors": sorted(finding.tensors),
            "message": in_outline(finding.message),
        }
        for about, finding in found
    ]
    entries.sort(key=json.dumps)
    document = {"schema_version": SCHEMA_VERSION, "sacdoctor": __version__, "findings": entries}
    return json.dumps(document, indent=1) + "\n"


def _folder(path: Path) -> str:
    return str(path.absolute().parent)


def _place(path: str, folder: str) -> str:
    """Return a path as seen from a folder, with slashes, so that other machines know it, too."""
    from sacdoctor.fleet import is_address

    if path == "-" or is_address(path):
        return path
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:  # another drive
        return Path(path).absolute().as_posix()
