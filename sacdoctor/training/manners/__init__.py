"""How everything that watches a training speaks, what it finds, and how it ends.

Findings and console need Python alone; the callback that all others are derived from needs SB3 and
is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sacdoctor.training.manners.console import LOGGER, say
from sacdoctor.training.manners.finding import TrainingFinding, note

if TYPE_CHECKING:
    from sacdoctor.training.manners.callback import TrainingCallback

__all__ = ["LOGGER", "TrainingCallback", "TrainingFinding", "note", "say"]


def __getattr__(name: str) -> Any:
    """Import what needs SB3 when it is first used."""
    if name != "TrainingCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sacdoctor.training.manners import callback

    return callback.TrainingCallback
