"""When each finding came up, between which two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.history.model import Onset, Snapshot
from sacdoctor.model import Finding
from sacdoctor.trust import LoadedCode


def onsets(snapshots: Sequence[Snapshot]) -> tuple[Onset, ...]:
    """Return the onsets of all findings over a run, in the order of time.

    Every tensor of a finding has its own; those of one rule that came and went together are one
    onset. Checkpoints that do not say their timesteps are left out. Code has none: it is in a file
    or not, whatever training did.
    """
    alive: dict[tuple[str, str], tuple[int | None, int, Finding]] = {}
    spans: dict[tuple[str, int | None, int, int | None], tuple[Finding, list[str]]] = {}

    def close(key: tuple[str, str], until: int | None) -> None:
        after, by, finding = alive.pop(key)
        spans.setdefault((key[0], after, by, until), (finding, []))[1].append(key[1])

    last: int | None = None
    last_with_optimizers: int | None = None
    for snapshot in snapshots:
        if snapshot.timesteps is None:
            continue
        has_optimizers = bool(snapshot.report.optimizer_learning_rates)
        found = {
            (finding.rule, tensor): finding
            for finding in snapshot.report.findings
            if not rule_of(finding).looks_at(LoadedCode)
            for tensor in finding.tensors or ("",)
        }
        for key in [key for key in alive if key not in found]:
            if has_optimizers or not rule_of(alive[key][2]).needs_optimizers:
                close(key, snapshot.timesteps)
        for key, finding in found.items():
            before = last_with_optimizers if rule_of(finding).needs_optimizers else last
            alive.setdefault(key, (before, snapshot.timesteps, finding))
        last = snapshot.timesteps
        if has_optimizers:
            last_with_optimizers = last
    for key in list(alive):
        close(key, None)
    return tuple(
        Onset(
            rule,
            finding.name,
            finding.severity,
            finding.message,
            tuple(name for name in names if name),
            after,
            by,
            until,
        )
        for (rule, after, by, until), (finding, names) in sorted(
            spans.items(), key=lambda item: (item[0][2], item[0][0], item[0][3] or 0)
        )
    )
