"""Reports as JSON, written as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sacdoctor.model import BufferSummary, Finding, LayerReport, Report
from sacdoctor.report.formats.json.schema import (
    DECIMALS,
    finding_document,
    finite,
    head_document,
    summary_document,
    written,
)
from sacdoctor.report.results import Configuration, Judge, ScanResult
from sacdoctor.version import __version__


def render(result: ScanResult) -> Iterator[str]:
    """Yield one JSON document over all reports, piece by piece as they come.

    `layers` lists the biases, or where all tensors are asked for every one.
    """
    yield written(_head(result.configuration))[:-2] + ',\n "checkpoints": ['
    separator = ""
    for report in result.reports:
        yield separator + written(_checkpoint(report, result.all_tensors, result.judge))
        separator = ", "
    yield "]\n}\n"


def lines(result: ScanResult) -> Iterator[str]:
    """Yield each report as a JSON object on a line, which says all that a document would."""
    head = _head(result.configuration)
    for report in result.reports:
        one = _checkpoint(report, result.all_tensors, result.judge)
        yield written({**head, **one}, indent=None) + "\n"


def _head(configuration: Configuration | None) -> dict[str, Any]:
    return {**head_document(None), "sacdoctor": __version__, **head_document(configuration)}


def _checkpoint(report: Report, all_tensors: bool, judge: Judge) -> dict[str, Any]:
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
        "findings": [_finding(report.path, finding, judge) for finding in report.findings],
        **({} if report.replay is None else {"replay": _replay(report.replay)}),
    }


def _finding(path: str, finding: Finding, judge: Judge) -> dict[str, Any]:
    document = finding_document(finding)
    if judge.baseline is not None:
        document["known"] = judge.knows(path, finding)
    return document


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
