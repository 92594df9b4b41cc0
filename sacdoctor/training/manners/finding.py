"""What is found wrong while a training runs, as a value."""

from __future__ import annotations

import logging
from typing import Any

from msgspec import Struct

from sacdoctor.training.manners.console import say


class TrainingFinding(Struct, frozen=True):
    """One sign of trouble, and the timesteps at which it was seen.

    `kind` is reward-crash, action-std, entropy, growth, non-finite, gradient-norm or setup;
    `quantity` what was measured, in SB3's name where it has one; `limit` what `value` should not
    have passed. `message` says it in one line, without the timesteps.
    """

    kind: str
    quantity: str
    timesteps: int
    value: float
    limit: float
    message: str

    def __str__(self) -> str:
        return f"at {self.timesteps:,} steps: {self.message}"


def note(found: list[Any], finding: TrainingFinding, level: int = logging.WARNING) -> None:
    """Keep a finding among those that were found, and say it."""
    found.append(finding)
    say(str(finding), level)
