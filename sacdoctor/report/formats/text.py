"""One line of text per checkpoint, as it lands in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from sacdoctor.printable import printable
from sacdoctor.report.interface import Format
from sacdoctor.report.results import WatchResult


def _watch(result: WatchResult, file: TextIO) -> None:
    """Write when, which file, its steps, its status, and the worst finding."""
    from sacdoctor.report.verdict import in_short

    report = result.report
    steps = f"{report.num_timesteps:,} steps" if report.num_timesteps is not None else "? steps"
    name = _name(report.path, result.run)
    line = f"{result.time:%H:%M:%S}  {name}  {steps}  {report.status:8}  {in_short(report)}"
    file.write(printable(line.rstrip()) + "\n")


def _name(text: str, run: Path) -> str:
    path = Path(text)
    return str(path.relative_to(run)) if run in path.parents else text


FORMAT = Format("text", "a line of text", {WatchResult: _watch})
