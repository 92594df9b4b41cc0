"""Warm-ups with forced actions: the wrapper, the buffers, and the guard that holds updates back.

The wrapper needs gymnasium alone, and environments are imported where nothing trains: what needs
SB3 is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sacdoctor.training.warmup.forced_actions import EXECUTED_ACTION, FORCED, ForcedActionWarmup

if TYPE_CHECKING:
    from sacdoctor.training.warmup.executed_actions import (
        ExecutedActionDictReplayBuffer,
        ExecutedActionMixin,
        ExecutedActionReplayBuffer,
    )
    from sacdoctor.training.warmup.guard import WarmupFinding, WarmupGuard

__all__ = [
    "EXECUTED_ACTION",
    "FORCED",
    "ExecutedActionDictReplayBuffer",
    "ExecutedActionMixin",
    "ExecutedActionReplayBuffer",
    "ForcedActionWarmup",
    "WarmupFinding",
    "WarmupGuard",
]

_NEED_SB3 = {
    "ExecutedActionDictReplayBuffer": "executed_actions",
    "ExecutedActionMixin": "executed_actions",
    "ExecutedActionReplayBuffer": "executed_actions",
    "WarmupFinding": "guard",
    "WarmupGuard": "guard",
}


def __getattr__(name: str) -> Any:
    """Import what needs SB3 when it is first used."""
    if name not in _NEED_SB3:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEED_SB3[name]}"), name)
