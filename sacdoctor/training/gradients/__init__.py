"""Gradients watched and clipped between the backward pass and the optimizer's step.

The hooks work on any optimizers and need torch alone; the callback needs SB3 and is imported when
it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sacdoctor.training.gradients.hooks import GRADIENT_WARNING, SAMPLED, GradientHooks
from sacdoctor.training.gradients.record import GradientRecord

if TYPE_CHECKING:
    from sacdoctor.training.gradients.guard import GradientGuard

__all__ = ["GRADIENT_WARNING", "SAMPLED", "GradientGuard", "GradientHooks", "GradientRecord"]


def __getattr__(name: str) -> Any:
    """Import what needs SB3 when it is first used."""
    if name != "GradientGuard":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sacdoctor.training.gradients import guard

    return guard.GradientGuard
