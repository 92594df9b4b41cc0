"""What a repair leaves: findings that hold after it, and the commands that would take them away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from sacdoctor.diagnosis import Examination, Facts, report_of
from sacdoctor.diagnosis.rules import findings, rule_of, selected, wrapped_names
from sacdoctor.model import Finding, LayerReport, Report
from sacdoctor.options import ScanOptions
from sacdoctor.repair.model import RepairPlan
from sacdoctor.severity import Thresholds
from sacdoctor.trust import LoadedCode, Suspicion


def foreseen(
    facts: Facts,
    before: Report,
    plan: RepairPlan,
    code: Sequence[Suspicion],
    options: ScanOptions,
) -> tuple[Finding, ...]:
    """Return the findings that will be left once `plan` is carried out, the worst first.

    The rules judge the tensors as they will be; a fault in a setting is gone where it is corrected,
    for only a report of the copy can tell that the new value is no better. `before` is the report
    that the plan was made from, `code` the suspicions that stay.
    """
    if plan.is_empty:
        return before.findings
    done = Counter[str]()
    for repair in plan.repaired:
        done[repair.name] += repair.elements
    layers = tuple(_repaired(layer, done[layer.name], before.thresholds) for layer in before.layers)
    judged = report_of(Examination(facts, layers, before.thresholds), options).findings
    rules = selected(options.select, options.ignore)
    left = [f for f in judged if not (_is_about_code(f) or _is_corrected(f, plan))]
    left += findings([LoadedCode(code).without_the_calm()], rules)
    return tuple(sorted(left, key=lambda finding: -finding.severity.rank))


def cures(finding: Finding, plan: RepairPlan) -> tuple[str, ...]:
    """Return the commands that take a finding away and that `plan` did not carry out already.

    Where one changes the checkpoint itself, others, for settings and buffers, are left out.
    """
    rest = [c for c in rule_of(finding).cured_by if _named(c) not in plan.commands]
    return tuple([c for c in rest if c.split()[0] == "fix"] or rest)


def _repaired(layer: LayerReport, elements: int, thresholds: Thresholds) -> LayerReport:
    """Return what a report will say of a tensor once so many of its zeros are none any more."""
    if not elements:
        return layer
    zeros = layer.zeros - elements
    percent = 100.0 * zeros / layer.parameters
    severity = thresholds.severity(percent)
    return replace(layer, zeros=zeros, zero_percent=percent, severity=severity, cause=None)


def _is_corrected(finding: Finding, plan: RepairPlan) -> bool:
    if plan.wrappers and finding.rule == wrapped_names.RULE.code:
        return True
    options = {_named(c) for c in rule_of(finding).cured_by if " --" in c}
    return bool(options & plan.commands)


def _is_about_code(finding: Finding) -> bool:
    return rule_of(finding).looks_at(LoadedCode)


def _named(command: str) -> str:
    """Return a command with its option, without what the option takes."""
    return " ".join(command.split()[:2])
