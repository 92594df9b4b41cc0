"""sacdoctor: a checkpoint doctor for Stable-Baselines3.

`scan(path)` returns a `Report`, `fix(path)` writes a repaired copy, `fix_config(source)` corrects
training settings, `diff(a, b)` compares two checkpoints, `read_history(folder)` follows a run,
`audit_warmup(path)` finds forced actions in a replay buffer. Nothing in a file is ever executed.
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
    )
    from sacdoctor.diagnosis.scan import scan
    from sacdoctor.diagnosis.warmup import WarmupReport, audit_warmup
    from sacdoctor.history import Difference, History, diff, read_history
    from sacdoctor.repair import FixResult, RepairError, RepairOptions, RepairPlan
    from sacdoctor.repair.fix import fix
    from sacdoctor.settings.fix_config import FixedConfig, fix_config

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Difference",
    "Finding",
    "FixResult",
    "FixedConfig",
    "History",
    "LayerReport",
    "RepairError",
    "RepairOptions",
    "RepairPlan",
    "Report",
    "SacdoctorError",
    "ScanOptions",
    "Severity",
    "Summary",
    "Thresholds",
    "WarmupReport",
    "audit_warmup",
    "diff",
    "fix",
    "fix_config",
    "read_history",
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
    ),
    "sacdoctor.diagnosis.scan": ("scan",),
    "sacdoctor.diagnosis.warmup": ("WarmupReport", "audit_warmup"),
    "sacdoctor.history": ("Difference", "History", "diff", "read_history"),
    "sacdoctor.repair": ("FixResult", "RepairError", "RepairOptions", "RepairPlan", "fix"),
    "sacdoctor.settings.fix_config": ("FixedConfig", "fix_config"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts at once."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
