"""What runs inside `model.learn()`: callbacks, a wrapper and a buffer that keep biases alive.

Needs the extra `train` (Stable-Baselines3 and sb3-contrib).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sacdoctor.extras import imported

if TYPE_CHECKING:
    from sacdoctor.training.activity import ActivityCallback
    from sacdoctor.training.gradients import GradientGuard
    from sacdoctor.training.health import TrainingHealthCallback
    from sacdoctor.training.live import MissingParameters, add_missing_parameters
    from sacdoctor.training.warmup import (
        ExecutedActionDictReplayBuffer,
        ExecutedActionMixin,
        ExecutedActionReplayBuffer,
        ForcedActionWarmup,
        WarmupGuard,
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
    "TrainingHealthCallback",
    "WarmupGuard",
    "ZeroWeightsPreventionCallback",
    "add_missing_parameters",
    "create_zero_prevention_system",
]

_HOMES = {
    "ActivityCallback": "activity",
    "ExecutedActionDictReplayBuffer": "warmup",
    "ExecutedActionMixin": "warmup",
    "ExecutedActionReplayBuffer": "warmup",
    "ForcedActionWarmup": "warmup",
    "GradientGuard": "gradients",
    "MissingParameters": "live",
    "TrainingHealthCallback": "health",
    "WarmupGuard": "warmup",
    "ZeroWeightsPreventionCallback": "zeros",
    "add_missing_parameters": "live",
    "create_zero_prevention_system": "zeros",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used; the rest of the package needs no SB3."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return imported(f"{__name__}.{_HOMES[name]}", name, f"{__name__}.{name}")
