"""Results that a run goes on with: what stands in them already, and how further ones join them.

JSON Lines are a file that lines are added to. A Parquet file ends with what makes it readable, so
here they are a folder of them, in parts that are whole each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from sacdoctor.errors import SacdoctorError, unopened
from sacdoctor.files import replacing
from sacdoctor.model import Finding
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import ScanResult
from sacdoctor.report.rows import CHECKPOINT, Rows, arrow
from sacdoctor.severity import Severity, Status

LINES, PARTS = "jsonl", "parquet"
"""The formats that a run can go on with."""
_NEEDED = ("row", "path", "status", "rule", "name", "severity")


class Earlier(Struct):
    """What earlier runs found: the files, their statuses, and a finding of each rule and severity.

    Of a finding there are its rule and severity, which the exit code goes by.
    """

    paths: set[str] = field(default_factory=set)
    statuses: set[Status] = field(default_factory=set)
    found: dict[tuple[str, Severity], Finding] = field(default_factory=dict)

    def note(self, path: str, status: str) -> None:
        self.paths.add(path)
        self.statuses.add(Status(status))

    def note_finding(self, finding: Mapping[str, Any]) -> None:
        rule, severity = str(finding["rule"]), Severity(finding["severity"])
        self.found[rule, severity] = Finding(rule, str(finding["name"]), severity, (), "", "", "")


def earlier(path: Path, format: str) -> Earlier:
    """Return what stands at `path`, and make room for what is to be done again.

    What could not be read then is taken out, as it may be there now, and so is a line that was cut
    off. Raises `SacdoctorError` where something else stands there.
    """
    try:
        return _earlier_parts(path) if format == PARTS else _earlier_lines(path)
    except SacdoctorError as error:
        raise error.at(path) from None
    except OSError as error:
        raise unopened(error).at(path) from None
    except (KeyError, TypeError, ValueError):
        raise SacdoctorError(f"it holds no results of scan --format {format}", path) from None


def write_on(path: Path, format: str, result: ScanResult) -> None:
    """Add results to those at `path`, as they come."""
    try:
        if format == PARTS:
            _write_parts(path, result)
            return
        with path.open("a", encoding="utf-8") as file:
            FORMATS[format].write(result, file)
    except SacdoctorError:
        raise
    except OSError as error:
        raise SacdoctorError(f"it cannot be written: {error.strerror or error}", path) from None


def _earlier_lines(path: Path) -> Earlier:
    found = Earlier()
    if not path.exists():
        return found
    dropped = False
    with path.open("rb") as file:
        for line in file:
            kept = _kept(line)
            if kept is None:
                dropped = True
            else:
                _note_line(found, kept)
    if dropped:
        with path.open("rb") as file, replacing(path) as again:
            again.writelines(line for line in file if _kept(line) is not None)
    return found


def _kept(line: bytes) -> Mapping[str, Any] | None:
    """Return what a line says, None where it was cut off or tells of a file that was not read."""
    if not line.endswith(b"\n"):
        return None
    said: Mapping[str, Any] = json.loads(line)
    return None if said["status"] == Status.ERROR else said


def _note_line(found: Earlier, line: Mapping[str, Any]) -> None:
    found.note(line["path"], line["status"])
    for finding in line["findings"]:
        if not finding.get("known"):
            found.note_finding(finding)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _earlier_parts(folder: Path) -> Earlier:
    found = Earlier()
    if not folder.exists():
        return found
    if not folder.is_dir():
        raise SacdoctorError("it is a file: --resume with Parquet takes a folder, and makes one")
    parquet, compute = arrow("pyarrow.parquet"), arrow("pyarrow.compute")
    for part in _parts(folder):
        table = parquet.read_table(part)
        failed = compute.equal(table["status"].cast("string"), str(Status.ERROR))
        if compute.any(failed).as_py():
            table = table.filter(compute.invert(failed))
            with replacing(part) as file:
                parquet.write_table(table, file)
        for row in table.select([*_NEEDED, "known"]).to_pylist():
            if row["row"] == CHECKPOINT:
                found.note(row["path"], row["status"])
            elif not row["known"]:
                found.note_finding(row)
    return found


def _write_parts(folder: Path, result: ScanResult) -> None:
    parquet = arrow("pyarrow.parquet")
    folder.mkdir(exist_ok=True)
    numbers = _numbers(_parts(folder))

    def write(table: Any) -> None:
        with replacing(folder / f"part-{next(numbers):06}.parquet", overwrite=False) as file:
            parquet.write_table(table, file)

    rows = Rows(write, result.judge)
    try:
        for report in result.reports:
            rows.add(report)
    finally:  # an interrupted run keeps what it has found
        rows.flush()


def _numbers(parts: list[Path]) -> Iterator[int]:
    number = max((int(part.stem.partition("-")[2]) for part in parts), default=0)
    while True:
        number += 1
        yield number
