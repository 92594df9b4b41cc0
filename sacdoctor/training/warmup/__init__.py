"""Warm-ups with forced actions: wrapper, buffers, and what holds updates back.

The gate needs numpy alone and the wrapper gymnasium alone; environments are imported where nothing
trains, and agents of one's own know no SB3: what needs a package is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sacdoctor.training.warmup.findings import WarmupFinding
from sacdoctor.training.warmup.gate import WarmupGate
from sacdoctor.training.warmup.infos import EXECUTED_ACTION, FORCED, executed_action, was_forced

if TYPE_CHECKING:
    from sacdoctor.training.warmup.executed_actions import (
        ExecutedActionDictReplayBuffer,
        ExecutedActionMixin,
        ExecutedActionReplayBuffer,
    )
    from sacdoctor.training.warmup.forced_actions import ForcedActionWarmup
    from sacdoctor.training.warmup.guard import WarmupGuard

__all__ = [
    "EXECUTED_ACTION",
    "FORCED",
    "ExecutedActionDictReplayBuffer",
    "ExecutedActionMixin",
    "ExecutedActionReplayBuffer",
    "ForcedActionWarmup",
    "WarmupFinding",
    "WarmupGate",
    "WarmupGuard",
    "executed_action",
    "was_forced",
]

_HOMES = {
    "ExecutedActionDictReplayBuffer": "executed_actions",
    "ExecutedActionMixin": "executed_actions",
    "ExecutedActionReplayBuffer": "executed_actions",
    "ForcedActionWarmup": "forced_actions",
    "WarmupGuard": "guard",
}
"""What needs SB3 or gymnasium."""


def __getattr__(name: str) -> Any:
    """Import what needs SB3 or gymnasium when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
