"""sacdoctor: a checkpoint doctor for Stable-Baselines3.

`scan(path)` returns a `Report`, `fix(path)` writes a repaired copy, `fix_config(source)` corrects
training settings, `diff(a, b)` compares two checkpoints, `read_history(folder)` follows a run,
`check_up(folder)` looks at all that it left, `audit_warmup(path)` finds forced actions in a replay
buffer, `load(path)` returns a live model and `probe(path)` says what its networks do on
observations. Nothing in a file is ever executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sacdoctor.extras import imported
from sacdoctor.version import __version__

if TYPE_CHECKING:
    from sacdoctor.checkpoint import Checkpoint
    from sacdoctor.checkup import Checkup, check_up
    from sacdoctor.diagnosis import scan
    from sacdoctor.diagnosis.warmup import WarmupReport, audit_warmup
    from sacdoctor.errors import CheckpointError, MissingFile, SacdoctorError
    from sacdoctor.history import Difference, History, TensorStatus, diff, find_donors, read_history
    from sacdoctor.model import (
        Cause,
        Finding,
        Kind,
        LayerReport,
        Report,
        Summary,
        TensorRole,
        Unjudged,
    )
    from sacdoctor.network import (
        LeftOut,
        ProbeReport,
        activity_of,
        load,
        load_replay_buffer,
        probe,
    )
    from sacdoctor.options import ScanOptions
    from sacdoctor.repair import FixResult, RepairError, RepairOptions, RepairPlan, fix
    from sacdoctor.settings.fix_config import FixedConfig, fix_config
    from sacdoctor.severity import Severity, Status, Thresholds

__all__ = [
    "Cause",
    "Checkpoint",
    "CheckpointError",
    "Checkup",
    "Difference",
    "Finding",
    "FixResult",
    "FixedConfig",
    "History",
    "Kind",
    "LayerReport",
    "LeftOut",
    "MissingFile",
    "ProbeReport",
    "RepairError",
    "RepairOptions",
    "RepairPlan",
    "Report",
    "SacdoctorError",
    "ScanOptions",
    "Severity",
    "Status",
    "Summary",
    "TensorRole",
    "TensorStatus",
    "Thresholds",
    "Unjudged",
    "WarmupReport",
    "__version__",
    "activity_of",
    "audit_warmup",
    "check_up",
    "diff",
    "find_donors",
    "fix",
    "fix_config",
    "load",
    "load_replay_buffer",
    "probe",
    "read_history",
    "scan",
]

_HOMES = {
    "sacdoctor.checkpoint": ("Checkpoint",),
    "sacdoctor.checkup": ("Checkup", "check_up"),
    "sacdoctor.options": ("ScanOptions",),
    "sacdoctor.diagnosis.scan": ("scan",),
    "sacdoctor.diagnosis.warmup": ("WarmupReport", "audit_warmup"),
    "sacdoctor.errors": ("CheckpointError", "MissingFile", "SacdoctorError"),
    "sacdoctor.history": (
        "Difference",
        "History",
        "TensorStatus",
        "diff",
        "find_donors",
        "read_history",
    ),
    "sacdoctor.model": (
        "Cause",
        "Finding",
        "Kind",
        "LayerReport",
        "Report",
        "Summary",
        "TensorRole",
        "Unjudged",
    ),
    "sacdoctor.network": (
        "LeftOut",
        "ProbeReport",
        "activity_of",
        "load",
        "load_replay_buffer",
        "probe",
    ),
    "sacdoctor.repair": ("FixResult", "RepairError", "RepairOptions", "RepairPlan", "fix"),
    "sacdoctor.settings.fix_config": ("FixedConfig", "fix_config"),
    "sacdoctor.severity": ("Severity", "Status", "Thresholds"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts at once."""
    for module, names in _HOMES.items():
        if name in names:
            return imported(module, name, f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what there is to use, imported already or not."""
    return sorted(__all__)
