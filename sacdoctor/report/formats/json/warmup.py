"""The audit of a warm-up as JSON, version 1 of the schema."""

from __future__ import annotations

from typing import Any

from sacdoctor.diagnosis.warmup import WarmupReport
from sacdoctor.report.formats.json.schema import finding_document, head_document, written
from sacdoctor.report.results import Configuration

_DECIMALS = 6
"""Of the share, which runs from 0 to 1."""


def render(
    report: WarmupReport,
    cleaned: str | None = None,
    configuration: Configuration | None = None,
) -> str:
    """Return one JSON document; `cleaned` is the buffer that was written, if one was."""
    head = report.forced_head
    document: dict[str, Any] = {
        **head_document(configuration),
        "path": report.path,
        "status": report.status,
        "buffer": report.buffer,
        "checkpoint": report.checkpoint,
        "transitions": report.transitions,
        "capacity": report.capacity,
        "n_envs": report.n_envs,
        "forced_head": None
        if head is None
        else {
            "transitions": head.transitions,
            "stored": head.stored,
            "action": None if head.action is None else list(head.action),
            "earliest": head.earliest,
            "latest": head.latest,
        },
        "share": None if report.share is None else round(report.share, _DECIMALS),
        "updates_during_forced": report.updates_during_forced,
        "n_updates": report.n_updates,
        "notes": list(report.notes),
        "findings": [finding_document(finding) for finding in report.findings],
        "cleaned": cleaned,
    }
    return written(document) + "\n"
