"""What is kept of the gradients that pass through one optimizer."""

from __future__ import annotations

import math

from msgspec import Struct

_USUAL_AFTER = 20
"""Norms after which an optimizer has a usual one."""


class GradientRecord(Struct):
    """What passed through one optimizer since the guard was attached.

    `steps`: those taken, `measured`: the norms among them that `last` and `largest` are about, all
    before clipping.
    """

    steps: int = 0
    measured: int = 0
    clipped: int = 0
    skipped: int = 0
    last: float = 0.0
    largest: float = 0.0
    _logs: float = 0.0
    _sum: float = 0.0
    _summed: int = 0

    def add(self, norm: float) -> None:
        """Enter the norm of one step that is taken."""
        self.steps += 1
        self.measured += 1
        self.last = norm
        self._logs += math.log(norm) if norm > 0 else 0.0
        self._sum += norm
        self._summed += 1
        if norm > self.largest:
            self.largest = norm

    @property
    def usual(self) -> float | None:
        """The geometric mean of all norms so far, None while there are too few."""
        return math.exp(self._logs / self.measured) if self.measured >= _USUAL_AFTER else None

    def take_mean(self) -> float | None:
        """Return the mean norm since the last call, None where there was no step."""
        if not self._summed:
            return None
        mean = self._sum / self._summed
        self._sum, self._summed = 0.0, 0
        return mean
