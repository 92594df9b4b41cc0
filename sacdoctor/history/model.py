"""What a history says: plain values that know nothing of files, terminals or formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.model import Finding, Report
from sacdoctor.severity import Severity, Status
from sacdoctor.trust import LoadedCode


@dataclass(frozen=True, slots=True)
class Norms:
    """Euclidean norms over weights and biases; `update` is None at the first checkpoint.

    `weight`: of the values. `update`: of their difference from the checkpoint before. Buffers,
    aliases and elements that are not finite are left out.
    """

    weight: float
    update: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One checkpoint of a run.

    `report` is its diagnosis; its `layers` are only the biases at notice or worse, with the
    causes that the run proves. `norms` covers the online networks, `component_norms` every
    component, target networks too. `gradient_norms` are rule SD303's estimates by optimizer.
    `learning_starts` is SB3's warm-up, in timesteps. `is_repaired` marks a copy that
    `sacdoctor fix` wrote: it is shown and not compared.
    """

    report: Report
    norms: Norms
    component_norms: Mapping[str, Norms]
    gradient_norms: Mapping[str, float]
    entropy_coefficient: float | None
    learning_starts: int | None = None
    is_repaired: bool = False

    @property
    def dead_biases(self) -> int:
        """Bias tensors that are critical."""
        return sum(layer.severity is Severity.CRITICAL for layer in self.report.layers)

    @property
    def timesteps(self) -> int | None:
        """SB3's `num_timesteps`, None where the file does not say."""
        return self.report.num_timesteps


@dataclass(frozen=True, slots=True)
class Onset:
    """When a finding came up: between two checkpoints, in timesteps.

    `after_timesteps`: of the last checkpoint without it, None where the first one has it.
    `by_timesteps`: of the first checkpoint with it. `until_timesteps`: of the first checkpoint
    that no longer has it, None where the last one still has it. A finding that goes and comes
    back has an onset each time. `message` is that of the finding when it came up.
    """

    rule: str
    name: str
    severity: Severity
    message: str
    tensors: tuple[str, ...]
    after_timesteps: int | None
    by_timesteps: int
    until_timesteps: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The checkpoints of one training, in the order of their timesteps.

    `findings` are what only the checkpoints together show.
    """

    name: str
    algorithm: str | None
    snapshots: tuple[Snapshot, ...]
    onsets: tuple[Onset, ...]
    findings: tuple[Finding, ...]

    @property
    def code(self) -> tuple[tuple[str, Finding], ...]:
        """The path of each checkpoint with code that is not harmless, and its finding.

        It has no onset: it is in a file or not, whatever training did.
        """
        return tuple(
            (snapshot.report.path, finding)
            for snapshot in self.snapshots
            for finding in snapshot.report.findings
            if rule_of(finding).looks_at(LoadedCode) and finding.severity is not Severity.NOTICE
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened between two points in a run, in timesteps; they may be equal."""

    name: str
    after_timesteps: int
    by_timesteps: int

    @property
    def width(self) -> int:
        """How closely it is known, in timesteps."""
        return self.by_timesteps - self.after_timesteps


@dataclass(frozen=True, slots=True)
class Crash:
    """A lasting fall of the returns, from the median `before` to the median `after`.

    `episode` is the first low one (the first of the log is 0) and `timesteps` are those at its
    end. Where only a running mean was logged, `episode` is None and `timesteps` those of the
    first low row. `events` came shortly before, `values` are what SB3 logged at that time.
    """

    log: str
    episode: int | None
    timesteps: int
    before: float
    after: float
    events: tuple[Event, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RewardCurve:
    """Returns over a run, thinned out for a picture; `episodes` is None for a running mean."""

    log: str
    episodes: int | None
    points: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LogNote:
    """What is to say about a log that could not be read, or not all of it."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class History:
    """What a run's folder tells. `unreadable` are reports with status `error`."""

    path: str
    runs: tuple[Run, ...]
    unreadable: tuple[Report, ...]
    crashes: tuple[Crash, ...]
    curves: tuple[RewardCurve, ...]
    notes: tuple[LogNote, ...]

    @property
    def statuses(self) -> set[Status]:
        """The statuses of all checkpoints, of the run's own findings, and of crashes (warning)."""
        found = {snapshot.report.status for run in self.runs for snapshot in run.snapshots}
        found |= {Status.of([finding.severity]) for run in self.runs for finding in run.findings}
        found |= {report.status for report in self.unreadable}
        return found | ({Status.WARNING} if self.crashes else set())
