"""How a checkpoint is, in a sentence: what is worst about it, and what else there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.model import Cause, Finding, Report, Unjudged
from sacdoctor.report.text import counted
from sacdoctor.severity import Severity, Status, worst

if TYPE_CHECKING:
    from sacdoctor.checkup import Checkup
    from sacdoctor.history import History
    from sacdoctor.network import ProbeReport

_HARMLESS = (Status.UNKNOWN, Status.NOTICE)
_UNJUDGED = {
    Unjudged.NO_TENSORS: "it holds no tensors that could be judged",
    Unjudged.NO_MATCH: "no tensor was looked at: --include and --exclude let no name through",
    Unjudged.CODE_ALONE: "only the code in this pickle was looked at",
    Unjudged.ACTIONS: "whether the first stored actions were carried out cannot be told",
}
_CLEAN_CODE = "nothing outside SB3 and its libraries was found"


def verdict(report: Report) -> str:
    """Return what is worst about a readable checkpoint, and the rules that found something else."""
    if _zeros_are_worst(report):
        cause = _leading_cause(report)
        told = [f.rule for f in report.findings if rule_of(f).grades_biases or f.name == cause]
        return _sentence(_zeros(report)) + _also(report.findings, told)
    if report.unjudged is not None and report.status in _HARMLESS:
        return _sentence(_looked_at(report, report.unjudged)) + _also(report.findings)
    if report.findings and report.status is not Status.HEALTHY:
        first = report.findings[0]
        return _sentence(first.message) + _also(report.findings, [first.rule])
    return _sentence(_nothing_found(report)) + _also(report.findings)


def in_short(report: Report) -> str:
    """Return the worst about a checkpoint in words that fit on a line with others.

    Empty for a healthy one; the reason for one that could not be read.
    """
    if report.error is not None:
        return report.error
    if report.unjudged is not None and report.status in _HARMLESS:
        return _looked_at(report, report.unjudged)
    if report.status is Status.HEALTHY:
        return ""
    if not report.findings:
        return _zeros(report) if _zeros_are_worst(report) else ""
    first, more = report.findings[0], len(report.findings) - 1
    cause = _leading_cause(report) if rule_of(first).grades_biases else None
    why = f"{cause}: " if cause is not None and cause != Cause.UNKNOWN else ""
    return f"{first.rule} {why}{first.message}" + (f" (+{more} more)" if more else "")


def verdict_of_run(checkup: Checkup) -> str:
    """Return what is worst about a run, in a sentence, and what else there is."""
    told = [one.finding for one in checkup.concerns if not one.finding.in_passing]
    fall = f"the return fell about step {checkup.crashes[0].timesteps:,}" if checkup.crashes else ""
    if not told:
        if fall:
            return _sentence(fall) + " Nothing else was found."
        if checkup.status is Status.UNKNOWN:
            return "There is no checkpoint to judge, and nothing was found in the logs."
        return "Nothing was found."
    first = told[0]
    return _sentence(f"{first.message}{', and ' if fall else ''}{fall}") + _also(told, [first.rule])


def verdict_of_work(report: ProbeReport) -> str:
    """Return what is worst about networks that were set to work, and what else there is."""
    if report.findings:
        first = report.findings[0]
        return _sentence(first.message) + _also(report.findings, [first.rule])
    if report.status is Status.UNKNOWN:
        return "Too little was seen to judge by."
    return "No policy is saturated, no layer is dead, and what comes out makes sense."


def verdict_of_history(history: History) -> tuple[Status, str]:
    """Return how a run's folder is, and what was found in it, in a sentence.

    Where there is no checkpoint, the agent stays unjudged.
    """
    if not history.statuses:
        judged = sum(curve.is_judged for curve in history.curves)
        if not judged:
            return Status.UNKNOWN, "No checkpoint, and no log with enough rewards."
        return Status.UNKNOWN, f"No checkpoint; no reward crash in {counted(judged, 'log')}."
    status = Status.worst(history.statuses - {Status.ERROR})
    runs = history.runs_with_checkpoints
    if history.unreadable and not runs:
        status = Status.ERROR
    checkpoints = sum(len(run.snapshots) for run in runs)
    parts = [counted(checkpoints, "checkpoint") if checkpoints else "no checkpoint"]
    if len(runs) > 1:
        parts[0] += f" of {len(runs)} different runs"
    if history.unreadable:
        parts.append(f"{len(history.unreadable):,} that cannot be read")
    if history.crashes:
        parts.append(counted(len(history.crashes), "reward crash", "reward crashes"))
    found = len(history.logged)
    found += sum(len(run.onsets) + len(run.findings) + len(run.code) for run in history.runs)
    if found:
        parts.append(counted(found, "finding"))
    elif not history.crashes:
        parts.append("no findings")
    return status, ", ".join(parts) + "."


def _zeros_are_worst(report: Report) -> bool:
    """Return whether the share of zeros in biases is what is worst, or as bad as the worst."""
    grade = worst(layer.severity for layer in report.layers if layer.severity is not None)
    if grade is Severity.OK:
        return False
    if grade is Severity.NOTICE:  # which is no finding
        return report.status is Status.NOTICE
    if not report.findings or rule_of(report.findings[0]).comes_first:
        return False
    graded = [f.severity for f in report.findings if rule_of(f).grades_biases]
    return report.findings[0].severity in graded


def _zeros(report: Report) -> str:
    """Return how many biases are zero to which extent, and the most frequent cause."""
    summary, thresholds = report.summary, report.thresholds
    assert summary is not None  # there are layers
    of = f"of {counted(summary.bias_tensors, 'bias tensor')}"
    levels = (
        (summary.critical, thresholds.critical),
        (summary.warning, thresholds.warning),
        (summary.notice, thresholds.notice),
    )
    number, limit = next(level for level in levels if level[0])
    extent, because = f"more than {limit:g} % zero", _because(report)
    if summary.all_zero_bias_tensors:
        number, extent = summary.all_zero_bias_tensors, "100 % zero"
        if not because:
            because = ", as normalisation layers start"
    return f"{number} {of} {'is' if number == 1 else 'are'} {extent}{because}"


def _because(report: Report) -> str:
    causes = _causes(report)
    if not causes:
        return ""
    (cause, number), total = causes.most_common(1)[0], causes.total()
    return f"; cause: {cause}" + (f" ({number} of {total})" if number < total else "")


def _leading_cause(report: Report) -> str | None:
    return next((cause for cause, _ in _causes(report).most_common(1)), None)


def _causes(report: Report) -> Counter[str]:
    """Return how many biases in trouble have which cause."""
    return Counter(
        layer.cause.value
        for layer in report.layers
        if layer.cause and layer.severity in (Severity.CRITICAL, Severity.WARNING)
    )


def _looked_at(report: Report, unjudged: Unjudged) -> str:
    is_clean = unjudged is Unjudged.CODE_ALONE and not report.findings
    return _UNJUDGED[unjudged] + (f": {_CLEAN_CODE}" if is_clean else "")


def _nothing_found(report: Report) -> str:
    summary = report.summary
    if report.replay is not None:
        return "the stored actions are the ones that were carried out, as far as outcomes show"
    if summary is None:
        return f"only what loading it would run was looked at: {_CLEAN_CODE}"
    if summary.critical or summary.warning or summary.notice:
        return "the rules that were selected found nothing"
    if not summary.bias_tensors:
        return f"nothing was found in {counted(summary.tensors, 'tensor')}, none of them a bias"
    of = counted(summary.bias_tensors, "bias tensor")
    return f"none of {of} is more than {report.thresholds.notice:g} % zero"


def _sentence(words: str) -> str:
    first = words.partition(" ")[0]
    is_name = not first.replace("-", "").isalpha()  # of a setting or a tensor
    return f"{words}." if is_name else f"{words[0].upper()}{words[1:]}."


def _also(findings: Iterable[Finding], told: Collection[str] = ()) -> str:
    codes = dict.fromkeys(finding.rule for finding in findings if finding.rule not in told)
    return f" Also: {', '.join(codes)}." if codes else ""
