"""sacdoctor: a checkpoint doctor for Stable-Baselines3.

`scan(path)` returns a `Report`. Nothing in a checkpoint is ever executed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sacdoctor.checkpoint import Checkpoint, CheckpointError, SacdoctorError
    from sacdoctor.diagnosis import (
        Finding,
        LayerReport,
        Report,
        ScanOptions,
        Severity,
        Summary,
        Thresholds,
        scan,
    )

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Finding",
    "LayerReport",
    "Report",
    "SacdoctorError",
    "ScanOptions",
    "Severity",
    "Summary",
    "Thresholds",
    "scan",
]

_HOMES = {
    "sacdoctor.checkpoint": ("Checkpoint", "CheckpointError", "SacdoctorError"),
    "sacdoctor.diagnosis": (
        "Finding",
        "LayerReport",
        "Report",
        "ScanOptions",
        "Severity",
        "Summary",
        "Thresholds",
        "scan",
    ),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts at once."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
