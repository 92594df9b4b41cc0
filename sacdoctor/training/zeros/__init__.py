"""Biases that go dead while training runs, and their repair.

`ModelWatch` needs PyTorch alone; what needs SB3 is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sacdoctor.training.zeros.checks import Check, DeadBias, Repair
from sacdoctor.training.zeros.messages import frozen, never_trained, summary
from sacdoctor.training.zeros.telling import must_stop, record, tell
from sacdoctor.training.zeros.watch import ModelWatch

if TYPE_CHECKING:
    from sacdoctor.training.zeros.callback import (
        OnMissing,
        OnNonFinite,
        ZeroWeightsPreventionCallback,
    )
    from sacdoctor.training.zeros.system import create_zero_prevention_system

__all__ = [
    "Check",
    "DeadBias",
    "ModelWatch",
    "OnMissing",
    "OnNonFinite",
    "Repair",
    "ZeroWeightsPreventionCallback",
    "create_zero_prevention_system",
    "frozen",
    "must_stop",
    "never_trained",
    "record",
    "summary",
    "tell",
]

_NEED_SB3 = {
    "OnMissing": "callback",
    "OnNonFinite": "callback",
    "ZeroWeightsPreventionCallback": "callback",
    "create_zero_prevention_system": "system",
}


def __getattr__(name: str) -> Any:
    """Import what needs SB3 when it is first used."""
    if name not in _NEED_SB3:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEED_SB3[name]}"), name)
