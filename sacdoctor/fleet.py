"""Many checkpoints at once: finding them, and scanning one after the other."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sacdoctor.checkpoint import SacdoctorError
from sacdoctor.diagnosis import Report, ScanOptions, report_of_error, scan

Target = Path | SacdoctorError
"""A checkpoint to open, or why there is none at the place that was asked for."""


def find_checkpoints(paths: Iterable[str]) -> list[Target]:
    """Return what `paths` (files, folders, shell-style patterns) stand for, each file once.

    A folder stands for every `.zip` below it. What leads nowhere becomes an error in its place.
    """
    found: dict[str, Target] = {}
    for path in paths:
        for target in _targets(path):
            found.setdefault(str(target), target)
    return list(found.values())


def scan_all(targets: Iterable[Target], options: ScanOptions) -> Iterator[Report]:
    """Yield a report per target, as each is done; one that cannot be read has status `error`."""
    for target in targets:
        try:
            if isinstance(target, SacdoctorError):
                raise target
            yield scan(target, options)
        except SacdoctorError as error:
            yield report_of_error(error, options)


def _targets(path: str) -> list[Target]:
    if os.path.isdir(path):
        below = _zips_below(path)
        return [*below] or [SacdoctorError("the folder holds no .zip file", path)]
    if not os.path.lexists(path) and glob.has_magic(path):
        matches: list[Target] = []
        for match in sorted(glob.glob(path, recursive=True)):
            matches += _targets(match) if os.path.isdir(match) else [Path(match)]
        return matches or [SacdoctorError("no file matches this pattern", path)]
    return [Path(path)]


def _zips_below(folder: str) -> list[Path]:
    return sorted(
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(".zip")
    )
