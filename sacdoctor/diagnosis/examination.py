"""A checkpoint examined: its facts, and every tensor with its share of zeros and their cause."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from sacdoctor.diagnosis.causes import Attribution, cause_of, fresh_norm
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.statistics import gate_zero_percent
from sacdoctor.model import Cause, LayerReport
from sacdoctor.severity import Severity, Thresholds


class Examination(Struct, frozen=True):
    """What most rules judge. `layers` are the tensors that were asked for, in the file's order."""

    @classmethod
    def in_words(cls) -> str:
        return "a checkpoint's tensors and settings"

    facts: Facts
    layers: tuple[LayerReport, ...]
    thresholds: Thresholds

    def biases(self, cause: Cause) -> list[LayerReport]:
        """Return the bias tensors at warning or worse that have this cause."""
        return [
            layer
            for layer in self.layers
            if layer.cause is cause
            and layer.severity is not None
            and layer.severity.rank >= Severity.WARNING.rank
        ]


def examine(facts: Facts, thresholds: Thresholds, selects: Callable[[str], bool]) -> Examination:
    """Return the examination of a checkpoint, of the tensors that `selects` lets through."""
    layers = tuple(_layer(facts, name, thresholds) for name in facts.tensors if selects(name))
    return Examination(facts, layers, thresholds)


def _layer(facts: Facts, name: str, thresholds: Thresholds) -> LayerReport:
    tensor, role = facts.tensors[name], facts.anatomy.roles[name]
    alias_of = facts.anatomy.aliases.get(name)
    zeros = facts.measures[name].zeros
    percent = 100.0 * zeros / tensor.numel if tensor.numel else 0.0
    severity: Severity | None = None
    attribution: Attribution | None = None
    if role.role == "bias" and alias_of is None and tensor.numel:
        severity, attribution = _judged(facts, name, thresholds.severity(percent))
    return LayerReport(
        name=name,
        component=role.component,
        kind=role.kind,
        role=role.role,
        shape=tensor.shape,
        parameters=tensor.numel,
        zeros=zeros,
        zero_percent=percent,
        gates=gate_zero_percent(tensor, role.gates) if role.gates else None,
        severity=severity,
        cause=attribution.cause if attribution else None,
        evidence=attribution.evidence if attribution else None,
        alias_of=alias_of,
    )


def _judged(facts: Facts, name: str, severity: Severity) -> tuple[Severity, Attribution | None]:
    """Return the severity in the light of the cause, and the cause where one is due."""
    fresh = fresh_norm(facts, name)
    if fresh is not None:
        return Severity.NOTICE, fresh
    if severity.rank < Severity.WARNING.rank:
        return severity, None
    attribution = cause_of(facts, name)
    if attribution.is_harmless:
        return Severity.NOTICE, attribution
    if attribution.cause is Cause.UNTRAINED:
        return Severity.WARNING, attribution
    return severity, attribution
