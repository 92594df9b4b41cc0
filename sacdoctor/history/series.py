"""The checkpoints of one run, read one after the other; what was read of two is held at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp
from pathlib import Path

from msgspec.structs import replace

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.checkpoint import Checkpoint, Hyperparameters
from sacdoctor.diagnosis import (
    Examination,
    Facts,
    Jump,
    Moment,
    RunFacts,
    Still,
    Stored,
    examined,
    report_of,
    report_of_error,
)
from sacdoctor.diagnosis.rules import estimated_gradient_norm, findings, selected
from sacdoctor.errors import SacdoctorError
from sacdoctor.history.jumps import jumps
from sacdoctor.history.lineage import Header
from sacdoctor.history.model import Run, Snapshot
from sacdoctor.history.movement import Standing, distances, left_behind, norms, standing
from sacdoctor.history.onsets import onsets
from sacdoctor.history.proof import LEAST_UPDATES, Evidence, explained, settled
from sacdoctor.model import LayerReport, Report
from sacdoctor.options import ScanOptions
from sacdoctor.severity import Severity

_LARGEST_LOG = 700.0
"""exp of more is no float."""


def read_run(
    name: str, headers: Sequence[Header], options: ScanOptions, folder: Path
) -> tuple[Run, tuple[Report, ...]]:
    """Return a run and reports of status `error` on its checkpoints that cannot be read.

    What lies beside them is looked for in all of `folder`.
    """
    snapshots: list[Snapshot] = []
    errors: list[Report] = []
    untrained: set[int] = set()
    evidence: Evidence | None = None
    original: str | None = None
    still: dict[str, Still] = {}
    stale: dict[str, Still] = {}
    patience: float | None = None
    gamma: float | None = None
    actions = 0
    newest: tuple[LayerReport, ...] = ()
    moments: list[Moment] = []
    leaps: list[Jump] = []
    for found in _examined(headers, options):
        if isinstance(found, Report):
            errors.append(found)
            continue
        header, examination, previous = found
        facts, moved, updates, copy_of = examination.facts, None, None, None
        standing_now: Standing = {}
        if not header.is_repaired:
            if previous is None or evidence is None:
                evidence = Evidence.begin(header, examination)
            else:
                moved, updates = distances(previous, facts), evidence.updates_to(header)
                if _is_copy(evidence.last, header, moved):
                    copy_of = str(original or evidence.last.path)
                elif (updates or 0) >= LEAST_UPDATES:
                    standing_now = standing(facts, moved)
                    times = evidence.last.steps, header.steps
                    still = _since(still, standing_now, *times)
                    stale = _since(stale, left_behind(facts, moved), *times)
                if copy_of is None:
                    times = evidence.last.steps, header.steps
                    leaps += [
                        jump._replace(since=times[0], until=times[1])
                        for jump in jumps(previous, facts, moved)
                    ]
                    evidence.move(header, moved)
            moments.append(_moment(header, facts))
            original = copy_of
            newest = examination.layers
            evidence.hear(header, examination)
        patience = _patience(facts.checkpoint.hyperparameters)
        gamma, actions = facts.checkpoint.hyperparameters.number("gamma"), _actions(facts)
        if facts.counters_say_untrained:
            untrained.add(len(snapshots))
        total, components = norms(facts, moved)
        report = report_of(examination, options, folder)
        resets = evidence.resets(report.layers) if evidence is not None else {}
        layers = tuple(explained(of, resets) for of in report.layers if _in_trouble(of))
        snapshots.append(
            Snapshot(
                replace(report, layers=layers),
                total,
                components,
                _gradient_norms(facts),
                _entropy_coefficient(facts),
                facts.checkpoint.hyperparameters.integer("learning_starts"),
                header.is_repaired,
                header.steps_before,
                updates,
                copy_of,
                tuple(standing_now),
            )
        )
    if evidence is None:
        return Run(name, headers[0].algorithm, tuple(snapshots), (), ()), tuple(errors)
    attributions = evidence.never_updated()
    moved_later = frozenset(evidence.movers)
    snapshots = [
        replace(
            snapshot,
            report=settled(
                snapshot.report,
                attributions,
                moved_later if number in untrained else frozenset(),
                options,
            ),
        )
        for number, snapshot in enumerate(snapshots)
    ]
    compared = [snapshot for snapshot in snapshots if not snapshot.is_repaired]
    run_facts = RunFacts(
        unmoved={n: why for n, why in attributions.items() if options.selects(n)},
        told=evidence.told,
        layers=compared[-1].report.layers,
        still=still,
        stale={
            name: of
            for name, of in stale.items()
            if patience is not None and of.pairs > 1 and of.until - of.since >= patience
        },
        moments=tuple(moments),
        stored=_stored(headers),
        jumps=tuple(leaps),
    )
    of_run = findings([run_facts], selected(options.select, options.ignore))
    run = Run(
        name,
        headers[0].algorithm,
        tuple(snapshots),
        onsets(compared),
        of_run,
        gamma,
        actions,
        _with_causes(newest, compared[-1].report.layers),
    )
    return run, tuple(errors)


def _examined(
    headers: Sequence[Header], options: ScanOptions
) -> Iterator[tuple[Header, Examination, Facts | None] | Report]:
    """Yield each checkpoint examined, with the facts of the one before it that is compared.

    Of one that cannot be read it yields a report of status `error`.
    """
    previous: Checkpoint | None = None
    facts: Facts | None = None
    for header in headers:
        try:
            checkpoint = header.checkpoint or Checkpoint(header.path)
            examination = examined(Facts(checkpoint, options.components, options.trusted), options)
            _ = checkpoint.optimizers, checkpoint.variables  # damage shows here, where it is told
            checkpoint.refuse_changed()
        except SacdoctorError as error:
            yield report_of_error(error, options)
            continue
        yield header, examination, facts
        if header.is_repaired:
            checkpoint.close()
            continue
        if previous is not None:
            previous.refuse_changed()
            previous.close()
        previous, facts = checkpoint, examination.facts
    if previous is not None:
        previous.refuse_changed()
        previous.close()


def _moment(header: Header, facts: Facts) -> Moment:
    settings = facts.checkpoint.hyperparameters
    rates = [state.learning_rate for state in facts.policy_optimizers.values()]
    return Moment(
        header.steps,
        header.timesteps or 0,
        header.updates or 0,
        header.started,
        max((rate for rate in rates if rate is not None), default=None),
        settings.number("exploration_rate"),
        header.learning_starts,
        facts.last_seen,
    )


def _stored(headers: Sequence[Header]) -> Stored | None:
    """Return what the replay buffer beside the last checkpoint that has one of SB3's holds."""
    row = ALGORITHMS.get(headers[0].algorithm or "")
    if row is None or not row.replays:
        return None
    from sacdoctor.replay import buffer_of, read_replay_buffer

    for header in reversed(headers):
        path = None if header.is_repaired else buffer_of(header.path)
        if path is None:
            continue
        try:
            buffer = read_replay_buffer(path)
        except SacdoctorError:
            return None  # `sacdoctor scan` of it says why
        if not buffer.is_sb3s:
            return None
        room = buffer.capacity * buffer.n_envs
        return Stored(buffer.transitions, room, header.steps, buffer.n_envs, path.name)
    return None


def _actions(facts: Facts) -> int:
    """Return the dimensions of a squashed Gaussian policy's action, 0 for any other policy."""
    outputs = facts.tensors.get("actor.mu.bias")
    return outputs.numel if outputs is not None and "actor.log_std.bias" in facts.tensors else 0


def _patience(settings: Hyperparameters) -> float | None:
    """Return the timesteps after which a target must have moved, None for one that need not.

    Two intervals of target updates; with a `tau` of 0, or an unknown one, it never has to.
    """
    if not settings.number("tau"):
        return None
    return 2.0 * (settings.integer("target_update_interval") or 1)


def _since(before: Mapping[str, Still], now: Standing, since: int, until: int) -> dict[str, Still]:
    """Return since when what stands still now does; what moved is forgotten."""
    return {
        name: before[name]._replace(until=until, pairs=before[name].pairs + 1)
        if name in before
        else Still(since, until, 1, tensors)
        for name, tensors in now.items()
    }


def _is_copy(before: Header, header: Header, moved: Mapping[str, float | None]) -> bool:
    """Return whether two checkpoints are one state, saved twice."""
    is_same_time = (before.steps, before.updates) == (header.steps, header.updates)
    return is_same_time and all(distance is None for distance in moved.values())


def _in_trouble(layer: LayerReport) -> bool:
    return layer.severity is not None and layer.severity is not Severity.OK


def _with_causes(
    layers: Sequence[LayerReport], judged: Sequence[LayerReport]
) -> tuple[LayerReport, ...]:
    """Return all tensors of a checkpoint, those in trouble as the run has `judged` them."""
    by_name = {layer.name: layer for layer in judged}
    return tuple(by_name.get(layer.name, layer) for layer in layers)


def _gradient_norms(facts: Facts) -> dict[str, float]:
    estimates = {name: estimated_gradient_norm(s) for name, s in facts.optimizers.items()}
    return {name: norm for name, norm in estimates.items() if norm is not None}


def _entropy_coefficient(facts: Facts) -> float | None:
    """Return the learned entropy coefficient, else the fixed one; None where there is none.

    It may be NaN.
    """
    variables = facts.checkpoint.variables
    for name in ("log_ent_coef", "ent_coef_tensor"):
        tensor = variables.get(name)
        if tensor is None or tensor.numel != 1 or tensor.dtype.zero_mask:
            continue
        value = float(tensor.item())
        if name == "log_ent_coef":
            value = exp(min(value, _LARGEST_LOG))
        return value
    return facts.checkpoint.hyperparameters.number("ent_coef")
