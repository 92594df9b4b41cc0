"""Signs that a training goes bad: collapse, divergence, schedules that jump.

Crashes of the return and the signs are worked out from plain numbers; the callback needs SB3 and is
imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sacdoctor.training.health.crash import CrashDetector, Episode, RewardCrash, TrainingEvent
from sacdoctor.training.manners import TrainingFinding

if TYPE_CHECKING:
    from sacdoctor.training.health.callback import TrainingHealthCallback

HealthWarning = TrainingFinding
"""The name that findings had when this package alone had any."""

__all__ = [
    "CrashDetector",
    "Episode",
    "HealthWarning",
    "RewardCrash",
    "TrainingEvent",
    "TrainingHealthCallback",
]


def __getattr__(name: str) -> Any:
    """Import what needs SB3 when it is first used."""
    if name != "TrainingHealthCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sacdoctor.training.health import callback

    return callback.TrainingHealthCallback
