"""What one check of a live model's biases finds, as values, and which biases it calls dead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sacdoctor.model import Cause
from sacdoctor.severity import Severity, Thresholds, worst
from sacdoctor.training.live import LiveModel, cause_of
from sacdoctor.training.zeros.bias_tensors import Counts


@dataclass(frozen=True, slots=True)
class DeadBias:
    """A bias at warning or worse, as it was before any repair."""

    name: str
    component: str
    kind: str
    zeros: int
    elements: int
    zero_percent: float
    severity: Severity
    cause: Cause
    evidence: str


@dataclass(frozen=True, slots=True)
class Repair:
    """Elements of one tensor that were set anew.

    `by`: `reinit` (drawn) or `online` (a target network's, from the online one). `lasts` is False
    where nothing trains what was drawn. `cleared`: the optimizers whose moments were cleared.
    """

    name: str
    elements: int
    by: str
    fill: str
    lasts: bool
    cleared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check saw and did.

    `zero_percent` is the share of zeros among all elements of all biases. `updated` is False while
    nothing has been trained: zeros are initial values then, and nobody's fault. `left` maps dead
    biases that were not repaired to the reason.
    """

    num_timesteps: int
    n_updates: int
    updated: bool
    zero_percent: float
    biases: int
    dead: tuple[DeadBias, ...]
    repaired: tuple[Repair, ...]
    left: Mapping[str, str]
    non_finite: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        """The worst severity among the dead biases; critical where a value is not finite."""
        return (
            Severity.CRITICAL if self.non_finite else worst([bias.severity for bias in self.dead])
        )


def dead_biases(live: LiveModel, counts: Counts, thresholds: Thresholds) -> Iterator[DeadBias]:
    """Yield the biases at warning or worse that are not just untrained or a fresh norm's."""
    if not live.was_updated:
        return
    for name, zeros in counts.zeros.items():
        elements, role = live.parameters[name].numel(), live.roles[name]
        percent = 100.0 * zeros / elements
        severity = thresholds.severity(percent)
        if severity.rank < Severity.WARNING.rank or name in counts.fresh_norms:
            continue
        found = cause_of(live, name)
        if found.cause is not Cause.UNTRAINED:
            yield DeadBias(
                name,
                role.component,
                role.kind.value,
                zeros,
                elements,
                percent,
                severity,
                found.cause,
                found.evidence,
            )
