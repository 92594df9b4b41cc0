"""What a checkpoint of a run is measured by: the numbers that tables list and curves show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan, nan

from sacdoctor.history import Snapshot


def zero_percent(snapshot: Snapshot) -> float | None:
    """Return the share of zeros in all tensors, in percent; None where there is none."""
    summary = snapshot.report.summary
    return summary.zero_percent if summary else None


def weight_norm(snapshot: Snapshot) -> float:
    """Return the norm of all weights and biases, NaN where one of them is not finite."""
    return nan if snapshot.norms.non_finite else snapshot.norms.weight


def update_norm(snapshot: Snapshot) -> float | None:
    """Return the norm of the change per update, NaN where an element is not finite."""
    if snapshot.update_norm is None:
        return None
    return nan if snapshot.norms.non_finite else snapshot.update_norm


def learning_rate(snapshot: Snapshot) -> float | None:
    """Return the largest rate of the optimizers, or else the one in the settings."""
    report = snapshot.report
    rates = [rate for rate in report.optimizer_learning_rates.values() if rate is not None]
    if not rates and report.learning_rate is not None:
        rates = [report.learning_rate]
    return _largest(rates)


def gradient_norm(snapshot: Snapshot) -> float | None:
    """Return the largest of the optimizers' estimated gradient norms."""
    return _largest(list(snapshot.gradient_norms.values()))


def _largest(values: Sequence[float]) -> float | None:
    """Return the largest value, NaN where there is one: `max` would hide it."""
    return next((value for value in values if isnan(value)), max(values, default=None))


CURVES: tuple[tuple[str, Callable[[Snapshot], float | None]], ...] = (
    ("zero %", zero_percent),
    ("weight norm", weight_norm),
    ("update norm", update_norm),
    ("gradient norm", gradient_norm),
    ("entropy coefficient", lambda snapshot: snapshot.entropy_coefficient),
)
"""What is drawn over a run beside its return, by what people call it."""
