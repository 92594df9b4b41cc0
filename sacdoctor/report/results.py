"""What each verb hands to a format: a type per kind of result, with all that showing it takes.

The types stand here, and not with the verbs or what the verbs call, so that a format can name
them without loading what makes them. Every command loads all of them when it starts: they are
named tuples because Python takes six times as long to make a dataclass (0.4 ms).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sacdoctor.checkup import Checkup
    from sacdoctor.diagnosis.rules import Rule
    from sacdoctor.diagnosis.warmup import WarmupReport
    from sacdoctor.history import Difference, History
    from sacdoctor.model import Report
    from sacdoctor.repair import FixResult


class Configuration(NamedTuple):
    """What a settings file changes about a verdict: `settings` are its own, as it calls them.

    `held` are the codes of rules that count although it leaves them out, as nobody named it.
    """

    path: str
    is_named: bool
    settings: Mapping[str, Any]
    held: tuple[str, ...]


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


class HistoryResult(NamedTuple):
    """What a run's folder tells."""

    history: History
    configuration: Configuration | None = None


class CheckupResult(NamedTuple):
    """What a whole run comes to."""

    checkup: Checkup
    configuration: Configuration | None = None


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


class RulesResult(NamedTuple):
    """Rules in the order of their codes, to be listed or to be explained."""

    rules: Sequence[Rule]
    in_full: bool
    """Whether each is explained, or named on a line."""
