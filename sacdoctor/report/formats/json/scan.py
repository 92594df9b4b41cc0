"""Reports as JSON, written as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sacdoctor.model import BufferSummary, LayerReport, Report
from sacdoctor.report.formats.json.schema import (
    DECIMALS,
    finding_document,
    finite,
    head_document,
    summary_document,
    written,
)
from sacdoctor.report.results import Configuration
from sacdoctor.version import __version__


def render(
    reports: Iterable[Report],
    *,
    all_tensors: bool = False,
    configuration: Configuration | None = None,
) -> Iterator[str]:
    """Yield one JSON document over all reports, piece by piece as they come.

    `layers` lists the biases, or with `all_tensors` every tensor.
    """
    head = {**head_document(None), "sacdoctor": __version__, **head_document(configuration)}
    yield written(head)[:-2] + ',\n "checkpoints": ['
    separator = ""
    for report in reports:
        yield separator + written(_checkpoint(report, all_tensors))
        separator = ", "
    yield "]\n}\n"


def _checkpoint(report: Report, all_tensors: bool) -> dict[str, Any]:
    layers = report.layers if all_tensors else report.biases
    return {
        "path": report.path,
        "status": report.status,
        "error": report.error,
        "algorithm": report.algorithm,
        "policy_class": report.policy_class,
        "sb3_version": report.sb3_version,
        "num_timesteps": report.num_timesteps,
        "n_updates": report.n_updates,
        "learning_rate": finite(report.learning_rate),
        "optimizer_learning_rates": {
            name: finite(rate) for name, rate in report.optimizer_learning_rates.items()
        },
        "summary": summary_document(report.summary) if report.summary else None,
        "layers": [_layer(layer) for layer in layers],
        "findings": [finding_document(finding) for finding in report.findings],
        **({} if report.replay is None else {"replay": _replay(report.replay)}),
    }


def _replay(buffer: BufferSummary) -> dict[str, Any]:
    return {
        "class": buffer.class_name,
        "transitions": buffer.transitions,
        "capacity": buffer.capacity,
        "n_envs": buffer.n_envs,
        "arrays": {
            name: {"shape": list(shape), "dtype": dtype}
            for name, (shape, dtype) in buffer.arrays.items()
        },
    }


def _layer(layer: LayerReport) -> dict[str, Any]:
    return {
        "name": layer.name,
        "component": layer.component,
        "kind": layer.kind,
        "role": layer.role,
        "shape": list(layer.shape),
        "parameters": layer.parameters,
        "zeros": layer.zeros,
        "zero_percent": round(layer.zero_percent, DECIMALS),
        "gates": None
        if layer.gates is None
        else {gate: round(percent, DECIMALS) for gate, percent in layer.gates.items()},
        "severity": layer.severity,
        "cause": layer.cause,
        "evidence": layer.evidence,
        "alias_of": layer.alias_of,
    }
