"""The entropy coefficient that SAC, TQC and CrossQ learn: as it was saved, and as it was logged."""

from __future__ import annotations

from typing import NamedTuple

from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.log_facts import COEFFICIENT, LogFacts


class LoggedCoefficient(NamedTuple):
    """The first and the last value in a log, and the timestep of the last."""

    first: float
    last: float
    step: int

    def told(self, last: str) -> str:
        """Return it in words, the last value written as `last`."""
        return (
            f"{COEFFICIENT} is {last} at step {self.step:,}; the first that was logged is "
            f"{self.first:.3g}"
        )


def log_coefficient(facts: Facts) -> float | None:
    """Return the logarithm that was saved; None where it is fixed, or no single number."""
    tensor = facts.checkpoint.variables.get("log_ent_coef")
    if tensor is None or tensor.numel != 1 or tensor.dtype.zero_mask:
        return None
    return float(tensor.item())


def logged_coefficient(log: LogFacts) -> LoggedCoefficient | None:
    """Return what a log says of it, None where it says nothing."""
    series = log.series.get(COEFFICIENT)
    if series is None or not len(series.values):
        return None
    return LoggedCoefficient(
        float(series.values[0]), float(series.values[-1]), int(series.timesteps[-1])
    )
