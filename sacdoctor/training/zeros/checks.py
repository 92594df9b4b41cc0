"""What one check of a live model finds, as values, and which of its biases it calls dead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch as th
from msgspec import Struct

from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity, Thresholds, worst
from sacdoctor.training.live import LiveModel, cause_of
from sacdoctor.training.zeros.bias_tensors import Counts
from sacdoctor.training.zeros.untouched import Untouched, layer_has_died


class DeadBias(Struct, frozen=True):
    """A bias at warning or worse, as it was before any repair.

    `zeros` are those that count: not those that never were anything else, in a layer that lives.
    """

    name: str
    component: str
    kind: str
    zeros: int
    elements: int
    zero_percent: float
    severity: Severity
    cause: Cause
    evidence: str


class Repair(Struct, frozen=True):
    """Elements of one tensor that were set anew.

    `by`: `reinit` (drawn), `refit` (fitted to the model's own transitions, drawn where these tell
    nothing) or `online` (a target network's, from the online one). `lasts` is False where nothing
    trains what was set. `cleared`: the optimizers whose moments were cleared.
    """

    name: str
    elements: int
    by: str
    fill: str
    lasts: bool
    cleared: tuple[str, ...]


class Check(Struct, frozen=True):
    """What one check saw and did.

    `zero_percent` is the share of zeros among all elements of all biases. `updated` is False while
    nothing has been trained: zeros are initial values then, and nobody's fault. `left` maps dead
    biases that were not repaired to the reason. `non_finite` are the parameters that hold a NaN or
    an infinity. `findings` are what is new since the check before, the worst first.
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
    findings: tuple[Finding, ...] = ()

    @property
    def severity(self) -> Severity:
        """The worst severity among the dead biases; critical where a value is not finite."""
        return (
            Severity.CRITICAL if self.non_finite else worst([bias.severity for bias in self.dead])
        )


def zero_biases(
    live: LiveModel, counts: Counts, thresholds: Thresholds, untouched: Untouched
) -> Iterator[tuple[DeadBias, th.Tensor | None]]:
    """Yield the biases at warning or worse that are not just untrained or a fresh norm's.

    With each comes which of its elements count. None where none does: they are as they were made,
    and what is said of such a bias is a notice.
    """
    if not live.was_updated:
        return
    for name, zeros in counts.zeros.items():
        parameter = live.parameters[name]
        percent = 100.0 * zeros / parameter.numel()
        if thresholds.severity(percent).rank < Severity.WARNING.rank or name in counts.fresh_norms:
            continue
        all_zeros = parameter.detach() == 0
        as_made = untouched.of(live, name)
        counted = all_zeros & ~as_made
        if bool(as_made.any()) and layer_has_died(live, name):
            counted = all_zeros
        bias = _judged(live, name, counted, thresholds)
        if bias.cause is Cause.UNTRAINED:
            continue
        if bias.severity.rank >= Severity.WARNING.rank:
            yield bias, counted
        else:
            yield _judged(live, name, all_zeros, thresholds), None


def _judged(live: LiveModel, name: str, zeros: th.Tensor, thresholds: Thresholds) -> DeadBias:
    count, elements, role = int(zeros.sum()), zeros.numel(), live.roles[name]
    percent = 100.0 * count / elements
    found = cause_of(live, name, zeros)
    return DeadBias(
        name,
        role.component,
        role.kind.value,
        count,
        elements,
        percent,
        thresholds.severity(percent),
        found.cause,
        found.evidence,
    )
