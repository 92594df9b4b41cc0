"""What runs inside a training: callbacks for `model.learn()`, a monitor for a loop of one's own.

What is for SB3 needs the extra `train` (Stable-Baselines3 and sb3-contrib), the wrapper gymnasium,
the monitor and the gate neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sacdoctor.extras import imported

if TYPE_CHECKING:
    from sacdoctor.training.activity import ActivityCallback
    from sacdoctor.training.gradients import GradientGuard
    from sacdoctor.training.health import TrainingHealthCallback
    from sacdoctor.training.live import (
        MissingParameters,
        NonFinite,
        add_missing_parameters,
        load_added,
    )
    from sacdoctor.training.loop import TrainingMonitor
    from sacdoctor.training.warmup import (
        ExecutedActionDictReplayBuffer,
        ExecutedActionMixin,
        ExecutedActionReplayBuffer,
        ForcedActionWarmup,
        WarmupGate,
        WarmupGuard,
        executed_action,
    )
    from sacdoctor.training.zeros import (
        ZeroWeightsPreventionCallback,
        create_zero_prevention_system,
    )

__all__ = [
    "ActivityCallback",
    "ExecutedActionDictReplayBuffer",
    "ExecutedActionMixin",
    "ExecutedActionReplayBuffer",
    "ForcedActionWarmup",
    "GradientGuard",
    "MissingParameters",
    "NonFinite",
    "TrainingHealthCallback",
    "TrainingMonitor",
    "WarmupGate",
    "WarmupGuard",
    "ZeroWeightsPreventionCallback",
    "add_missing_parameters",
    "create_zero_prevention_system",
    "executed_action",
    "load_added",
]

_HOMES = {
    "ActivityCallback": "activity",
    "ExecutedActionDictReplayBuffer": "warmup",
    "ExecutedActionMixin": "warmup",
    "ExecutedActionReplayBuffer": "warmup",
    "ForcedActionWarmup": "warmup",
    "GradientGuard": "gradients",
    "MissingParameters": "live",
    "NonFinite": "live",
    "TrainingHealthCallback": "health",
    "TrainingMonitor": "loop",
    "WarmupGate": "warmup",
    "WarmupGuard": "warmup",
    "ZeroWeightsPreventionCallback": "zeros",
    "add_missing_parameters": "live",
    "create_zero_prevention_system": "zeros",
    "executed_action": "warmup",
    "load_added": "live",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: what it needs may not be there."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return imported(f"{__name__}.{_HOMES[name]}", name, f"{__name__}.{name}")
