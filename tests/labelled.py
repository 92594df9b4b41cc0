"""The labelled benchmark: each checkpoint is trained when a test first asks for it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from fixtures.faults import Case, build, cases

CASES: dict[str, Case] = {case.name: case for case in cases()}
UNREADABLE = [name for name, case in CASES.items() if {"SD701", "SD702"} & case.rules]
READABLE = [name for name in CASES if name not in UNREADABLE]
HEALTHY = [name for name, case in CASES.items() if case.healthy]
FAULTY = [name for name in READABLE if not CASES[name].healthy]


class Labelled:
    """The folder of the benchmark, filled on demand."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """The checkpoint called `name`, labelled from the live model that it was saved from."""
        path = self._folder / f"{name}.zip"
        if not path.exists():
            build(self._folder, [name])
        return path

    def label(self, name: str) -> dict[str, Any]:
        """What is to be said of it; the keys are those of `fixtures.fault_labels.labels`."""
        label: dict[str, Any] = json.loads(self.path(name).with_suffix(".json").read_text())
        return label

    def without(self, name: str, *endings: str) -> Path:
        """A copy whose members with one of these endings are left out."""
        source = self.path(name)
        copy = source.with_name(f"{source.stem}_without_{'_'.join(endings)}.zip")
        with zipfile.ZipFile(source) as whole, zipfile.ZipFile(copy, "w") as part:
            for member in whole.namelist():
                if not member.endswith(endings):
                    part.writestr(member, whole.read(member))
        return copy
