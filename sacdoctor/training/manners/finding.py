"""What is found wrong while a training runs, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingFinding:
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
