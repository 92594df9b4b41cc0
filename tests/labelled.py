"""The labelled benchmark: its checkpoints, its labels, and what a scan says of each of them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from fixtures.faults import Case, build, cases
from sacdoctor import Report, scan
from sacdoctor.diagnosis.scan import report_of_error
from sacdoctor.errors import SacdoctorError
from tests.kept import Kept

CASES: dict[str, Case] = {case.name: case for case in cases()}
UNREADABLE = [name for name, case in CASES.items() if {"SD701", "SD702"} & case.rules]
READABLE = [name for name in CASES if name not in UNREADABLE]
HEALTHY = [name for name, case in CASES.items() if case.healthy]
INNOCENT = [name for name, case in CASES.items() if case.innocent]
FAULTY = [name for name in READABLE if not CASES[name].healthy]


def report_of(path: Path) -> Report:
    """What a scan says of the file, be it that it cannot be read."""
    try:
        return scan(path)
    except SacdoctorError as error:
        return report_of_error(error)


class Labelled:
    """The benchmark's files, each trained when a test first asks for it and scanned once.

    :param folder: takes what is made of the checkpoints
    """

    def __init__(self, kept: Kept, folder: Path) -> None:
        self._kept = kept
        self._folder = folder
        self._reports: dict[str, Report] = {}

    def path(self, name: str) -> Path:
        """The checkpoint called `name`, labelled from the live model that it was saved from."""
        return self._kept(name, lambda folder: build(folder, [name])) / f"{name}.zip"

    def label(self, name: str) -> dict[str, Any]:
        """What is to be said of it; the keys are those of `fixtures.fault_labels.labels`."""
        label: dict[str, Any] = json.loads(self.path(name).with_suffix(".json").read_text())
        return label

    def report(self, name: str) -> Report:
        """What a scan says of it."""
        if name not in self._reports:
            self._reports[name] = report_of(self.path(name))
        return self._reports[name]

    def without(self, name: str, *endings: str) -> Path:
        """A copy whose members with one of these endings are left out."""
        copy = self._folder / f"{name}_without_{'_'.join(endings)}.zip"
        with zipfile.ZipFile(self.path(name)) as whole, zipfile.ZipFile(copy, "w") as part:
            for member in whole.namelist():
                if not member.endswith(endings):
                    part.writestr(member, whole.read(member))
        return copy
