"""A checkup as JSON, version 1 of the schema."""

from __future__ import annotations

from typing import Any

from sacdoctor.checkup import Checkup, Concern, Happening
from sacdoctor.report.formats.json.schema import finding_document, head_document, written
from sacdoctor.report.results import Configuration
from sacdoctor.report.verdict import verdict_of_run


def render(checkup: Checkup, configuration: Configuration | None = None) -> str:
    """Return one JSON document; a finding holds those that follow from it."""
    document = {
        **head_document(configuration),
        "path": checkup.path,
        "status": checkup.status,
        "verdict": verdict_of_run(checkup),
        "findings": list(map(_concern, checkup.concerns)),
        "timeline": list(map(_happening, checkup.timeline)),
        "looked_at": list(checkup.looked_at),
        "not_there": list(checkup.not_there),
        "next": list(checkup.commands),
        "not_read": [{"path": one.path, "error": one.error} for one in checkup.unreadable],
    }
    return written(document) + "\n"


def _concern(concern: Concern) -> dict[str, Any]:
    onset = concern.onset
    return {
        **finding_document(concern.finding),
        "where": list(concern.where),
        "after_timesteps": onset.after_timesteps if onset else None,
        "by_timesteps": onset.by_timesteps if onset else None,
        "explains": list(map(_concern, concern.explains)),
    }


def _happening(happening: Happening) -> dict[str, Any]:
    return {
        "series": happening.run or None,
        "after_timesteps": happening.after_timesteps,
        "by_timesteps": happening.by_timesteps,
        "severity": happening.severity,
        "what": happening.what,
    }
