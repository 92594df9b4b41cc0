"""What the logs of a training show that none of its checkpoints does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sacdoctor.diagnosis import COEFFICIENT, LogFacts, Points
from sacdoctor.diagnosis.rules import findings, rule_of, selected, within
from sacdoctor.history.model import Logged, Run
from sacdoctor.history.monitor import MonitorLog
from sacdoctor.history.rewards import log_name, run_of
from sacdoctor.history.scalars import ScalarLog
from sacdoctor.model import Finding
from sacdoctor.options import ScanOptions
from sacdoctor.severity import Severity

_CLIPPED = 10.0
"""SB3's `VecNormalize` scales rewards and clips them there (`clip_reward`)."""
_NATS = 20.0
"""The most that the entropy of one dimension of a squashed Gaussian may be, in size: SB3's actors
keep `log_std` within [-20, 2]."""


def logged(
    monitors: Sequence[MonitorLog],
    scalars: Iterable[ScalarLog],
    runs: Sequence[Run],
    folder: Path,
    options: ScanOptions,
) -> tuple[Logged, ...]:
    """Return what the rules find in each log, less what its run's checkpoints say already."""
    rules = selected(options.select, options.ignore)
    found: list[Logged] = []
    for log in scalars:
        run = run_of(log.path, runs)
        known = list(_said(runs if run is None else [run]))
        found += [
            Logged(log_name(log.path, folder), run.name if run else None, finding)
            for finding in findings([_facts(log, run, monitors, runs)], rules)
            if not any(_covers(other, finding) for other in known)
        ]
    return tuple(found)


def _said(runs: Iterable[Run]) -> Iterator[Finding]:
    """Yield what is said of the runs at warning or worse."""
    for run in runs:
        for finding in (*run.findings, *(f for s in run.snapshots for f in s.report.findings)):
            if finding.severity.rank >= Severity.WARNING.rank:
                yield finding


def _covers(known: Finding, finding: Finding) -> bool:
    """Return whether what is known of the run is, or explains, what its log shows."""
    explained = {symptom.rule for symptom in rule_of(known).symptoms_of(known)}
    return finding.rule == known.rule or (
        finding.name in explained and within(None, known, finding)
    )


def _facts(
    log: ScalarLog, run: Run | None, monitors: Sequence[MonitorLog], runs: Sequence[Run]
) -> LogFacts:
    series = {name: Points(of.timesteps, of.values) for name, of in log.series.items()}
    if run is None:
        return LogFacts(series, log.rows)
    own = [monitor for monitor in monitors if run_of(monitor.path, runs) is run]
    return LogFacts(series, log.rows, run.algorithm, _largest_value(log, run, own))


def _largest_value(log: ScalarLog, run: Run, monitors: Iterable[MonitorLog]) -> float | None:
    """Return r ÷ (1 − γ), r the most that a step may give; None where the files do not tell.

    No reward is larger than the largest return where rewards have one sign. What the entropy adds
    to each step is the coefficient times the entropy.
    """
    returns = [float(np.max(np.abs(of.returns))) for of in monitors if len(of.returns)]
    if run.gamma is None or not 0.0 <= run.gamma < 1.0 or not returns:
        return None
    reward = max(_CLIPPED, *returns)
    coefficients = log.series.get(COEFFICIENT)
    if coefficients is not None:
        values = coefficients.finite.values
        if not run.actions or not len(values):
            return None
        reward += float(np.max(values)) * _NATS * run.actions
    return reward / (1.0 - run.gamma)
