"""The labelled benchmark: its files and runs, their labels, and what is said of each of them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from fixtures import faulty_buffers, faulty_runs
from fixtures.fault_labels import Labelled as LabelledCase
from fixtures.faults import Case, build, cases
from sacdoctor import Finding, Report, read_history, scan
from sacdoctor.diagnosis.scan import report_of_error
from sacdoctor.errors import SacdoctorError
from tests.kept import Kept

CASES: dict[str, Case] = {case.name: case for case in cases()}
UNREADABLE = [name for name, case in CASES.items() if {"SD701", "SD702"} & case.rules]
READABLE = [name for name in CASES if name not in UNREADABLE]
HEALTHY = [name for name, case in CASES.items() if case.healthy]
INNOCENT = [name for name, case in CASES.items() if case.innocent]
BUFFERS = {case.name: case for case in faulty_buffers.cases()}
RUNS = {case.name: case for case in faulty_runs.cases()}
ALL: dict[str, LabelledCase] = {**CASES, **BUFFERS, **RUNS}
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
        """What is called `name`; a checkpoint is labelled from the model that it was saved from."""
        return self._kept(name, lambda folder: build(folder, [name])) / ALL[name].place

    def label(self, name: str) -> dict[str, Any]:
        """What is to be said of it; the keys are those of `fixtures.fault_labels.labels`."""
        label: dict[str, Any] = json.loads(self.path(name).with_suffix(".json").read_text())
        return label

    def report(self, name: str) -> Report:
        """What a scan says of a checkpoint or replay buffer."""
        if name not in self._reports:
            self._reports[name] = report_of(self.path(name))
        return self._reports[name]

    def told(self, name: str) -> list[Finding]:
        """What is found in it: of a run what `history` says of it, each rule once."""
        if name not in RUNS:
            return list(self.report(name).findings)
        history = read_history(self.path(name))
        found = {of.finding.rule: of.finding for of in history.logged}
        found |= {finding.rule: finding for run in history.runs for finding in run.findings}
        for run in history.runs:
            for snapshot in run.snapshots:
                found |= {finding.rule: finding for finding in snapshot.report.findings}
        return list(found.values())

    def without(self, name: str, *endings: str) -> Path:
        """A copy whose members with one of these endings are left out."""
        copy = self._folder / f"{name}_without_{'_'.join(endings)}.zip"
        with zipfile.ZipFile(self.path(name)) as whole, zipfile.ZipFile(copy, "w") as part:
            for member in whole.namelist():
                if not member.endswith(endings):
                    part.writestr(member, whole.read(member))
        return copy
