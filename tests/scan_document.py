"""The promise of `scan --format json`, version 1: every key, its type, and how figures relate."""

from __future__ import annotations

import json
from typing import Any

NULL = type(None)
TOP = {"schema_version": int, "sacdoctor": str, "checkpoints": list}
CHECKPOINT = {
    "path": str,
    "status": str,
    "error": (str, NULL),
    "algorithm": (str, NULL),
    "policy_class": (str, NULL),
    "sb3_version": (str, NULL),
    "num_timesteps": (int, NULL),
    "n_updates": (int, NULL),
    "learning_rate": (int, float, NULL),
    "optimizer_learning_rates": dict,
    "summary": (dict, NULL),
    "layers": list,
    "findings": list,
}
SUMMARY = {
    "tensors": int,
    "parameters": int,
    "zero_parameters": int,
    "zero_percent": (int, float),
    "bias_tensors": int,
    "all_zero_bias_tensors": int,
    "critical": int,
    "warning": int,
    "notice": int,
}
LAYER = {
    "name": str,
    "component": str,
    "kind": str,
    "role": str,
    "shape": list,
    "parameters": int,
    "zeros": int,
    "zero_percent": (int, float),
    "gates": (dict, NULL),
    "severity": (str, NULL),
    "cause": (str, NULL),
    "evidence": (str, NULL),
    "alias_of": (str, NULL),
}
FINDING = {
    "rule": str,
    "name": str,
    "severity": str,
    "tensors": list,
    "message": str,
    "evidence": str,
    "remedy": str,
}
STATUSES = {"healthy", "unknown", "notice", "warning", "critical", "error"}
SEVERITIES = {"ok", "notice", "warning", "critical"}
KINDS = {"LSTM", "GRU", "RNN", "Linear", "Conv", "Norm", "Attention", "Embedding", "Other"}
GATES = {"LSTM": ["input", "forget", "cell", "output"], "GRU": ["reset", "update", "new"]}
CAUSES = {
    "normalisation-init",
    "untrained",
    "not-in-optimizer",
    "no-gradient",
    "zero-gradient",
    "reset-after-training",
    "target-out-of-sync",
    "unknown",
}


def parse(text: str) -> dict[str, Any]:
    """The document in `text`, after checking that it keeps the promise."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document: dict[str, Any] = json.loads(text, parse_constant=refuse)
    # Only where a settings file changes what is said.
    _shape({key: value for key, value in document.items() if key != "configuration"}, TOP)
    assert document["schema_version"] == 1
    for checkpoint in document["checkpoints"]:
        _checkpoint(checkpoint)
    return document


def _shape(value: dict[str, Any], keys: dict[str, Any]) -> None:
    assert list(value) == list(keys)
    for key, types in keys.items():
        wanted = types if isinstance(types, tuple) else (types,)
        assert type(value[key]) in wanted, (key, value[key])


def _checkpoint(checkpoint: dict[str, Any]) -> None:
    _shape(checkpoint, CHECKPOINT)
    assert checkpoint["status"] in STATUSES
    assert (checkpoint["status"] == "error") == (checkpoint["error"] is not None)
    for name, rate in checkpoint["optimizer_learning_rates"].items():
        assert isinstance(name, str)
        assert type(rate) in (int, float, NULL)
    for layer in checkpoint["layers"]:
        _layer(layer)
    for finding in checkpoint["findings"]:
        _shape(finding, FINDING)
        assert finding["severity"] in SEVERITIES
        assert all(isinstance(name, str) for name in finding["tensors"])
    if checkpoint["status"] == "error":
        assert checkpoint["summary"] is None
        assert checkpoint["layers"] == []
    else:
        _summary(checkpoint["summary"])


def _layer(layer: dict[str, Any]) -> None:
    _shape(layer, LAYER)
    assert layer["kind"] in KINDS
    assert layer["role"] in {"weight", "bias", "buffer", "parameter"}
    assert all(type(size) is int and size >= 0 for size in layer["shape"])
    elements = 1
    for size in layer["shape"]:
        elements *= size
    assert layer["parameters"] == elements
    assert 0 <= layer["zeros"] <= elements
    if elements:
        assert abs(layer["zero_percent"] - 100 * layer["zeros"] / elements) < 1e-3
    assert layer["severity"] in SEVERITIES | {None}
    assert layer["cause"] in CAUSES | {None}
    assert (layer["cause"] is None) == (layer["evidence"] is None)
    if layer["gates"] is not None:
        assert list(layer["gates"]) == GATES[layer["kind"]]
        assert all(0 <= percent <= 100 for percent in layer["gates"].values())
    if layer["role"] != "bias" or layer["alias_of"] is not None or not elements:
        assert layer["severity"] is None


def _summary(summary: dict[str, Any]) -> None:
    _shape(summary, SUMMARY)
    assert 0 <= summary["zero_parameters"] <= summary["parameters"]
    assert summary["critical"] + summary["warning"] + summary["notice"] <= summary["bias_tensors"]
    assert summary["all_zero_bias_tensors"] <= summary["bias_tensors"] <= summary["tensors"]
