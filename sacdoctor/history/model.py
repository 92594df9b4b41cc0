"""What a history says: plain values that know nothing of files, terminals or formats."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.model import Finding, LayerReport, Report
from sacdoctor.severity import Severity, Status
from sacdoctor.shown import Shown
from sacdoctor.trust import LoadedCode


class Norms(Struct, frozen=True):
    """Euclidean norms over weights and biases; `update` is None at the first checkpoint.

    `weight`: of the values. `update`: of their difference from the checkpoint before. Buffers,
    aliases and elements that are not finite are left out; `non_finite` counts the last.
    """

    weight: float
    update: float | None
    non_finite: int = 0


class Snapshot(Struct, frozen=True):
    """One checkpoint of a run.

    `report` is its diagnosis; its `layers` are only the biases at notice or worse, with the
    causes that the run proves. `norms` covers the online networks, `component_norms` every
    component, target networks too. `gradient_norms` are rule SD303's estimates by optimizer.
    `learning_starts` is SB3's warm-up, in timesteps. `is_repaired` marks a copy that
    `sacdoctor fix` wrote: it is shown and not compared.

    `steps_before` are the timesteps before a call of `learn()` that set SB3's counter back to 0.
    `updates_since` counts the updates since the checkpoint before, None where the files do not
    say. `copy_of` is the path of an earlier checkpoint in which every weight is the same, after the
    same timesteps and updates. `still` are the components none of whose weights and biases moved
    since the checkpoint before, although so many updates were made that they should have.
    """

    report: Report
    norms: Norms
    component_norms: Mapping[str, Norms]
    gradient_norms: Mapping[str, float]
    entropy_coefficient: float | None
    learning_starts: int | None = None
    is_repaired: bool = False
    steps_before: int = 0
    updates_since: int | None = None
    copy_of: str | None = None
    still: tuple[str, ...] = ()

    @property
    def update_norm(self) -> float | None:
        """The norm of the change since the checkpoint before, per update; None where untold."""
        if self.norms.update is None or not self.updates_since:
            return None
        return self.norms.update / self.updates_since

    @property
    def dead_biases(self) -> int:
        """Bias tensors that are critical."""
        return sum(layer.severity is Severity.CRITICAL for layer in self.report.layers)

    @property
    def timesteps(self) -> int | None:
        """The timesteps since the training began, None where the file does not say.

        SB3's `num_timesteps`, and those before it was set back.
        """
        steps = self.report.num_timesteps
        return None if steps is None else self.steps_before + steps


class Onset(Struct, frozen=True):
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


class Run(Struct, frozen=True):
    """The checkpoints of one training, in the order of their timesteps.

    `findings` are what only the checkpoints together show. `gamma` is the last checkpoint's, and
    `actions` the number of dimensions of a squashed Gaussian policy's action, else 0. `layers` are
    all tensors of the last checkpoint that is compared, with the causes that the run proves.
    """

    name: str
    algorithm: str | None
    snapshots: tuple[Snapshot, ...]
    onsets: tuple[Onset, ...]
    findings: tuple[Finding, ...]
    gamma: float | None = None
    actions: int = 0
    layers: tuple[LayerReport, ...] = ()

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


class Event(Struct, frozen=True):
    """Something that happened between two points in a run, in timesteps; they may be equal."""

    name: str
    after_timesteps: int
    by_timesteps: int

    @property
    def width(self) -> int:
        """How closely it is known, in timesteps."""
        return self.by_timesteps - self.after_timesteps


class Crash(Struct, frozen=True):
    """A lasting fall of the returns, from the median `before` to the median `after`.

    `episode` is the first low one (the first of the log is 0) and `timesteps` are those at its
    end. Of a running mean and of evaluations `episode` is None, and `timesteps` are those of the
    first low one. `events` came shortly before, `values` are what SB3 logged at that time.
    `also_in` are other logs of the training that show it, too.
    """

    log: str
    episode: int | None
    timesteps: int
    before: float
    after: float
    events: tuple[Event, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    also_in: tuple[str, ...] = ()


class RewardCurve(Struct, frozen=True):
    """Returns over a run, thinned out for a picture; `episodes` is None for a running mean.

    `is_judged`: whether there are enough of them to tell a crash. `evaluations`: of how many by
    SB3's `EvalCallback` these are the means, None for other logs. `timesteps` are those of the
    points, as the log counts them. `run` is the name of the run that the log is of, None where
    unknown.
    """

    log: str
    episodes: int | None
    points: tuple[float, ...]
    is_judged: bool
    evaluations: int | None = None
    timesteps: tuple[int, ...] = ()
    run: str | None = None


class Logged(Struct, frozen=True):
    """A finding in a log; `run` is the name of the run that the log is of, None where unknown."""

    log: str
    run: str | None
    finding: Finding


class LogNote(Struct, frozen=True):
    """What is to say about a log that could not be read, or not all of it."""

    path: str
    message: str


class History(Shown, Struct, frozen=True):
    """What a run's folder tells. `unreadable` are reports with status `error`.

    `logged` are findings that only the logs show. `logs` are the names of all that were read.
    """

    path: str
    runs: tuple[Run, ...]
    unreadable: tuple[Report, ...]
    crashes: tuple[Crash, ...]
    curves: tuple[RewardCurve, ...]
    notes: tuple[LogNote, ...]
    logged: tuple[Logged, ...] = ()
    logs: tuple[str, ...] = ()

    @property
    def runs_with_checkpoints(self) -> tuple[Run, ...]:
        """The runs of which at least one checkpoint could be read to its end."""
        return tuple(run for run in self.runs if run.snapshots)

    @property
    def statuses(self) -> set[Status]:
        """The statuses of checkpoints, of findings in runs and logs, and of crashes (warning)."""
        found = {snapshot.report.status for run in self.runs for snapshot in run.snapshots}
        found |= {Status.of([finding.severity]) for run in self.runs for finding in run.findings}
        found |= {Status.of([of.finding.severity]) for of in self.logged}
        found |= {report.status for report in self.unreadable}
        return found | ({Status.WARNING} if self.crashes else set())
