"""A copy of the package in which one file is longer: what a newcomer would write, from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import sacdoctor

PACKAGE = Path(sacdoctor.__file__).parent


class Extended:
    """The copy, below a folder, and its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, folder / "sacdoctor", ignore=skipped)

    def add_row(self, file: str, row: str) -> None:
        """Put a row at the end of the table in `file`."""
        path = self.folder / "sacdoctor" / file
        table, end, rest = path.read_text().partition("\n)\n\n")
        while "_ROWS = (" not in table:
            before, end, rest = rest.partition("\n)\n\n")
            table = f"{table}\n)\n\n{before}"
        assert end, f"{file} holds no table"
        path.write_text(f"{table}\n    {row},\n)\n\n{rest}")

    def run(self, *arguments: object) -> str:
        """Return what the command prints; it may find something, and must not fail."""
        done = subprocess.run(
            [sys.executable, "-m", "sacdoctor", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            timeout=60,
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def scan(self, path: Path) -> dict[str, Any]:
        """The JSON of a scan of one checkpoint."""
        reports = json.loads(self.run("scan", "--format", "json", "--all", path))
        return reports if "findings" in reports else reports["checkpoints"][0]
