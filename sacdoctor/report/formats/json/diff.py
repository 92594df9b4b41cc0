"""The difference of two checkpoints as JSON, version 1 of the schema."""

from __future__ import annotations

from typing import Any

from sacdoctor.history import Difference, TensorDifference
from sacdoctor.report.formats.json.schema import SCHEMA_VERSION, written


def render(difference: Difference) -> str:
    """Return one JSON document; identical tensors are listed, too."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "a": difference.a,
        "b": difference.b,
        "tensors": [_tensor(tensor) for tensor in difference.tensors],
        "optimizer": [
            {"file": moment.file, "moment": moment.moment, **_tensor(moment)}
            for moment in difference.optimizer
        ],
        "settings": [
            {"key": setting.key, "before": setting.before, "after": setting.after}
            for setting in difference.settings
        ],
    }
    return written(document) + "\n"


def _tensor(tensor: TensorDifference) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "component": tensor.component,
        "status": tensor.status,
        "shape_before": tensor.shape_before,
        "shape_after": tensor.shape_after,
        "changed": tensor.changed,
        "max_abs": tensor.max_abs,
        "relative_l2": tensor.relative_l2,
    }
