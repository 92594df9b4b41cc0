"""A run's history as JSON, version 1 of the schema."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from sacdoctor.history import Crash, History, Norms, Onset, Run, Snapshot
from sacdoctor.model import Report
from sacdoctor.report.formats.json.schema import (
    DECIMALS,
    finding_document,
    finite,
    head_document,
    written,
)
from sacdoctor.report.results import Configuration


def render(history: History, configuration: Configuration | None = None) -> str:
    """Return one JSON document; each checkpoint, onset and finding says its `series`."""
    document = {
        **head_document(configuration),
        "run": history.path,
        "series": [
            {"name": run.name, "algorithm": run.algorithm, "checkpoints": len(run.snapshots)}
            for run in history.runs
        ],
        "checkpoints": [
            *(_checkpoint(run, snapshot) for run in history.runs for snapshot in run.snapshots),
            *map(_unreadable, history.unreadable),
        ],
        "onsets": [_onset(run, onset) for run in history.runs for onset in run.onsets],
        "findings": [
            {"series": run.name, "path": path, **finding_document(finding)}
            for run in history.runs
            for path, finding in (*((None, finding) for finding in run.findings), *run.code)
        ]
        + [
            {"series": of.run, "path": of.log, **finding_document(of.finding)}
            for of in history.logged
        ],
        "crashes": [_crash(crash) for crash in history.crashes],
        "notes": [asdict(note) for note in history.notes],
    }
    return written(document) + "\n"


def _checkpoint(run: Run, snapshot: Snapshot) -> dict[str, Any]:
    report, norms = snapshot.report, snapshot.norms
    summary = report.summary
    return {
        "path": report.path,
        "series": run.name,
        "num_timesteps": report.num_timesteps,
        "n_updates": report.n_updates,
        "status": report.status,
        "error": None,
        "is_repaired_copy": snapshot.is_repaired,
        "zero_percent": round(summary.zero_percent, DECIMALS) if summary else None,
        "all_zero_bias_tensors": summary.all_zero_bias_tensors if summary else None,
        "dead_biases": snapshot.dead_biases,
        **_norms(norms),
        "steps_before": snapshot.steps_before,
        "updates_since": snapshot.updates_since,
        "update_norm_per_update": finite(snapshot.update_norm),
        "non_finite": norms.non_finite,
        "copy_of": snapshot.copy_of,
        "still": list(snapshot.still),
        "components": {name: _norms(part) for name, part in snapshot.component_norms.items()},
        "optimizer_learning_rates": {
            name: finite(rate) for name, rate in report.optimizer_learning_rates.items()
        },
        "entropy_coefficient": finite(snapshot.entropy_coefficient),
        "gradient_norms": {n: finite(norm) for n, norm in snapshot.gradient_norms.items()},
        "biases": [
            {
                "name": layer.name,
                "zero_percent": round(layer.zero_percent, DECIMALS),
                "severity": layer.severity,
                "cause": layer.cause,
                "evidence": layer.evidence,
            }
            for layer in report.layers
        ],
        "findings": [
            {"rule": f.rule, "name": f.name, "severity": f.severity, "tensors": list(f.tensors)}
            for f in report.findings
        ],
    }


def _unreadable(report: Report) -> dict[str, Any]:
    return {
        "path": report.path,
        "series": None,
        "num_timesteps": None,
        "status": report.status,
        "error": report.error,
    }


def _norms(norms: Norms) -> dict[str, float | None]:
    return {"weight_norm": finite(norms.weight), "update_norm": finite(norms.update)}


def _onset(run: Run, onset: Onset) -> dict[str, Any]:
    return {"series": run.name, **asdict(onset), "tensors": list(onset.tensors)}


def _crash(crash: Crash) -> dict[str, Any]:
    values = {name: finite(value) for name, value in crash.values.items()}
    events = [asdict(event) for event in crash.events]
    return {**asdict(crash), "events": events, "values": values}
