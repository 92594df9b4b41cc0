"""A checkpoint that has landed as one JSON object on one line."""

from __future__ import annotations

from datetime import datetime

from sacdoctor.model import Report
from sacdoctor.report.formats.json.schema import head_document, written
from sacdoctor.report.results import Configuration


def render(report: Report, time: datetime, configuration: Configuration | None = None) -> str:
    """Return the line; `time` is when the checkpoint was scanned, `findings` are the worst first.

    `time` may come without a zone: it is the local time then.
    """
    document = {
        **head_document(configuration),
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
    return written(document, indent=None) + "\n"
