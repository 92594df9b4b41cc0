"""A summary of many scans as JSON, version 1 of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict

from sacdoctor.fleet.summary import FleetSummary
from sacdoctor.report.formats.json.schema import head_document, written
from sacdoctor.version import __version__


def render(summary: FleetSummary) -> str:
    """Return one JSON document over the counts."""
    document = {
        **head_document(None),
        "sacdoctor": __version__,
        "files": list(summary.files),
        "checkpoints": summary.checkpoints,
        "statuses": dict(summary.statuses),
        "rules": [asdict(rule) for rule in summary.rules],
        "algorithms": _groups("algorithm", summary.algorithms),
        "sb3_versions": _groups("sb3_version", summary.sb3_versions),
    }
    return written(document) + "\n"


def _groups(key: str, groups: Mapping[str | None, Mapping[str, int]]) -> list[dict[str, Any]]:
    return [
        {key: name, "checkpoints": sum(counts.values()), "statuses": dict(counts)}
        for name, counts in groups.items()
    ]
