"""What each verb hands to a format: a type per kind of result, with all that showing it takes.

The types stand here, and not with the verbs or what the verbs call, so that a format can name
them without loading what makes them. Every command loads all of them when it starts: they are
named tuples because Python takes six times as long to make a dataclass (0.4 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sacdoctor.severity import Severity

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sacdoctor.checkup import Checkup
    from sacdoctor.diagnosis.rules import Rule
    from sacdoctor.diagnosis.warmup import WarmupReport
    from sacdoctor.fleet.summary import FleetSummary
    from sacdoctor.history import Difference, History
    from sacdoctor.model import Finding, Report
    from sacdoctor.network import ProbeReport
    from sacdoctor.repair import FixResult
    from sacdoctor.report.baseline import Baseline


class Configuration(NamedTuple):
    """What a settings file changes about a verdict: `settings` are its own, as it calls them.

    `held` are the codes of rules that count although it leaves them out, as nobody named it.
    """

    path: str
    is_named: bool
    settings: Mapping[str, Any]
    held: tuple[str, ...]


def _is_critical(finding: Finding) -> bool:
    return finding.severity is Severity.CRITICAL


class Judge(NamedTuple):
    """Which findings the exit code goes by: those that `fails` says yes to, and no known one."""

    fails: Callable[[Finding], bool] = _is_critical
    baseline: Baseline | None = None

    def knows(self, path: str, finding: Finding) -> bool:
        """Return whether a baseline has this finding about this file."""
        return self.baseline is not None and self.baseline.knows(path, finding)


class ScanResult(NamedTuple):
    """Reports in the order of what was asked for; those with an `error` could not be read.

    They come while the scan goes on, each once: a format takes them one by one, to the last.
    """

    reports: Iterable[Report]
    all_tensors: bool
    """Whether every tensor is listed, or the biases alone."""
    verbose: bool = False
    """Whether of several reports all are shown in full, or the bad ones alone."""
    configuration: Configuration | None = None
    judge: Judge = Judge()
    quiet: bool = False
    """Whether a line for each of the bad ones is all that people are shown."""


class FixResults(NamedTuple):
    """The repairs of all checkpoints that could be read; with `dry_run`, what they would be."""

    results: Sequence[FixResult]
    several: bool
    """Whether several checkpoints were asked for, however many could be read."""
    dry_run: bool
    configuration: Configuration | None = None


class DiffResult(NamedTuple):
    """What differs between two checkpoints."""

    difference: Difference
    all_tensors: bool = False
    """Whether a table lists every tensor that differs, or a line for each component."""


class HistoryResult(NamedTuple):
    """What a run's folder tells."""

    history: History
    configuration: Configuration | None = None


class CheckupResult(NamedTuple):
    """What a whole run comes to."""

    checkup: Checkup
    configuration: Configuration | None = None
    judge: Judge = Judge()


class WatchResult(NamedTuple):
    """One checkpoint that has landed in the folder `run`; each is written on its own."""

    report: Report
    run: Path
    time: datetime
    """When it was scanned, in local time without a zone."""
    configuration: Configuration | None = None


class WarmupResult(NamedTuple):
    """The audit of a warm-up."""

    report: WarmupReport
    cleaned: str | None
    """The buffer that was written without the forced transitions, if one was."""
    configuration: Configuration | None = None
    judge: Judge = Judge()


class ProbeResult(NamedTuple):
    """What the networks of one checkpoint do on observations."""

    report: ProbeReport
    configuration: Configuration | None = None


class SummaryResult(NamedTuple):
    """What many scans come to."""

    summary: FleetSummary


class RulesResult(NamedTuple):
    """Rules in the order of their codes, to be listed or to be explained."""

    rules: Sequence[Rule]
    in_full: bool
    """Whether each is explained, or named on a line."""
