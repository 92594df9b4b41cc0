"""One line per checkpoint as it lands: for people, or as JSON lines."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from sacdoctor.model import Report
from sacdoctor.printable import printable
from sacdoctor.report.json import SCHEMA_VERSION


def text(report: Report, folder: Path, time: datetime) -> str:
    """Return when, which file, its steps, its status, and the worst finding."""
    steps = f"{report.num_timesteps:,} steps" if report.num_timesteps is not None else "? steps"
    what = report.error
    if what is None and report.findings:
        worst = report.findings[0]
        more = len(report.findings) - 1
        what = f"{worst.rule} {worst.message}" + (f" (+{more} more)" if more else "")
    line = f"{time:%H:%M:%S}  {_name(report, folder)}  {steps}  {report.status:8}  {what or ''}"
    return printable(line.rstrip()) + "\n"


def json_line(report: Report, time: datetime) -> str:
    """Return one JSON object on one line; `findings` are the worst first."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "time": time.astimezone().isoformat(timespec="seconds"),
        "path": report.path,
        "num_timesteps": report.num_timesteps,
        "n_updates": report.n_updates,
        "status": report.status,
        "error": report.error,
        "findings": [
            {
                "rule": finding.rule,
                "name": finding.name,
                "severity": finding.severity,
                "tensors": list(finding.tensors),
                "message": finding.message,
            }
            for finding in report.findings
        ],
    }
    return json.dumps(document, allow_nan=False) + "\n"


def _name(report: Report, folder: Path) -> str:
    path = Path(report.path)
    return str(path.relative_to(folder)) if folder in path.parents else report.path
