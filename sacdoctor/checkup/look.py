"""Looking at all that there is: the newest checkpoint, the run it is of, its buffer, the logs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.checkup.concerns import Sign, concerns
from sacdoctor.checkup.model import Checkup, Concern, Happening
from sacdoctor.diagnosis import report_of_error, scan
from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.errors import SacdoctorError
from sacdoctor.extras import imported
from sacdoctor.files import as_saved
from sacdoctor.history import Crash, Event, History, Onset, Run, Snapshot, read_history
from sacdoctor.model import Finding, Report
from sacdoctor.options import ScanOptions
from sacdoctor.replay import buffer_of, newest_in
from sacdoctor.severity import Severity, Status

_BEST = "best_model.zip"
"""`EvalCallback`'s."""
_REPLAY = "replay_buffer"
_WORK = "the networks at work"
_CLEAN = "warmup --clean OUT.pkl"
_LOGS = ("progress.csv", "monitor.csv", "evaluations.npz")


def check_up(
    path: str | Path, options: ScanOptions | None = None, *, probe: bool = True
) -> Checkup:
    """Return what a run's folder, or a checkpoint and what lies with it, comes to.

    Of each run in a folder the newest checkpoint is judged, and `best_model.zip`; older ones tell
    when something came up. Of a replay buffer the newest is read, and with `probe` the networks of
    the newest checkpoint are set to work on its observations, where SB3 is installed.

    Raises `SacdoctorError` where there is nothing to look at. What cannot be read is part of the
    result. Nothing in a file is executed.
    """
    options = options or ScanOptions()
    path = Path(as_saved(str(path)))
    is_folder = os.path.isdir(path)  # where a name is too long, pathlib raises
    return (_of_folder if is_folder else _of_checkpoint)(path, options, probe)


# -- one checkpoint ----------------------------------------------------------------------------


def _of_checkpoint(path: Path, options: ScanOptions, probe: bool) -> Checkup:
    report = scan(path, options)
    buffer = buffer_of(path)
    reports, broken = _buffer_reports(buffer, options)
    signs = [Sign(finding, path.name) for finding in report.findings]
    signs += [Sign(finding, Path(of.path).name) for of in reports for finding in of.findings]
    work = _at_work(path, buffer, options) if probe and not broken else _Work()
    found = concerns([*signs, *(Sign(finding, _WORK) for finding in work.findings)])
    not_there = [] if buffer or not _stores(report.algorithm) else ["its replay buffer"]
    return Checkup(
        path=str(path),
        status=Status.worst([report.status, *work.statuses, *(of.status for of in reports)]),
        concerns=found,
        timeline=(),
        looked_at=(_named(path.name, report), *_of_buffers(reports), *work.looked_at),
        not_there=(*not_there, *work.not_there, "the rest of its run (give its folder)"),
        commands=tuple(_commands(found, path, reports)),
        unreadable=broken,
        report=report,
    )


def _named(name: str, report: Report) -> str:
    steps = "" if report.num_timesteps is None else f", {report.num_timesteps:,} steps"
    return f"{name} ({report.algorithm or 'unknown algorithm'}{steps})"


# -- a folder ----------------------------------------------------------------------------------


def _of_folder(folder: Path, options: ScanOptions, probe: bool) -> Checkup:
    history = read_history(folder, options)
    newest = [last for run in history.runs if (last := _newest(run)) is not None]
    buffer = _buffer_in(folder, newest)
    reports, broken = _buffer_reports(buffer, options)
    work = _Work()
    if probe and newest and not broken:
        work = _at_work(Path(newest[-1].report.path), buffer, options)
    at_work = [Sign(finding, _WORK) for finding in work.findings]
    found = concerns([*_signs(history, folder, reports), *at_work])
    looked, missing = [], []
    for run in history.runs:
        looked.append(_checkpoints(run, several=len(history.runs) > 1))
    looked += [*_of_buffers(reports), *work.looked_at, *history.logs]
    if not newest:
        missing.append("a checkpoint (.zip)")
    elif buffer is None and any(_stores(run.algorithm) for run in history.runs):
        missing.append("a replay buffer")
    names = {Path(log).name for log in history.logs}
    missing += [log for log in _LOGS if not any(name.endswith(log) for name in names)]
    missing += work.not_there
    statuses = {snapshot.report.status for snapshot in _judged(history)}
    statuses |= {Status.of([concern.finding.severity]) for concern in found if _counts(concern)}
    statuses |= {*work.statuses, *(report.status for report in reports)}
    statuses |= {Status.WARNING} if history.crashes else set()
    if not newest and not statuses:
        statuses = {Status.UNKNOWN}
    return Checkup(
        path=str(folder),
        status=Status.worst(statuses),
        concerns=found,
        timeline=tuple(timeline(history)),
        looked_at=tuple(looked),
        not_there=tuple(missing),
        commands=tuple(_commands(found, Path(newest[-1].report.path) if newest else None, reports)),
        unreadable=(*history.unreadable, *broken),
        crashes=history.crashes,
        history=history,
    )


def _newest(run: Run) -> Snapshot | None:
    """Return a run's last checkpoint that is no copy and was not repaired."""
    own = [one for one in run.snapshots if not one.is_repaired and one.copy_of is None]
    return own[-1] if own else None


def _judged(history: History) -> Iterator[Snapshot]:
    """Yield the newest checkpoint of each run, and the best one."""
    for run in history.runs:
        newest = _newest(run)
        for snapshot in run.snapshots:
            if snapshot is newest or Path(snapshot.report.path).name == _BEST:
                yield snapshot


def _counts(concern: Concern) -> bool:
    return not concern.finding.in_passing


def _signs(history: History, folder: Path, buffers: Iterable[Report]) -> Iterator[Sign]:
    """Yield all findings: of checkpoints, between them, in buffers, in logs."""
    judged = {id(snapshot) for snapshot in _judged(history)}
    for run in history.runs:
        newest = _newest(run)
        for snapshot in sorted(run.snapshots, key=lambda one: one is not newest):
            if id(snapshot) in judged:
                for finding in snapshot.report.findings:
                    onset = next(
                        (one for one in run.onsets if _is_of(one, finding.rule, snapshot)), None
                    )
                    yield Sign(finding, _below(snapshot.report.path, folder), onset)
        for finding in run.findings:
            yield Sign(finding, f"the checkpoints of {run.name}")
    for report in buffers:
        for finding in report.findings:
            yield Sign(finding, _below(report.path, folder))
    for of in history.logged:
        yield Sign(of.finding, of.log)


def _is_of(onset: Onset, rule: str, snapshot: Snapshot) -> bool:
    steps, until = snapshot.timesteps, onset.until_timesteps
    return (
        onset.rule == rule
        and steps is not None
        and onset.by_timesteps <= steps
        and (until is None or steps < until)
    )


def timeline(history: History) -> list[Happening]:
    """Return what came up when, over all runs, in the order of time."""
    several = len(history.runs) > 1
    found: list[Happening] = []
    for run in history.runs:
        name = run.name if several else ""
        for onset in run.onsets:
            what = f"{onset.rule} {onset.name}: {onset.message}"
            if onset.until_timesteps is not None:
                what += f"; gone by {onset.until_timesteps:,}"
            found.append(
                Happening(name, onset.by_timesteps, onset.after_timesteps, onset.severity, what)
            )
    runs_of = {curve.log: curve.run or "" for curve in history.curves}
    for crash in history.crashes:
        found.append(_of_crash(crash, runs_of.get(crash.log, "") if several else ""))
    events = dict.fromkeys(event for crash in history.crashes for event in crash.events)
    came_up = {f"{onset.rule} {onset.name} " for run in history.runs for onset in run.onsets}
    found += [_of_event(e) for e in events if not e.name.startswith(tuple(came_up))]
    return sorted(found, key=lambda one: one.by_timesteps)


def _of_crash(crash: Crash, run: str) -> Happening:
    what = f"the median return fell from {crash.before:.4g} to {crash.after:.4g}"
    where = ", ".join((crash.log, *crash.also_in))
    return Happening(run, crash.timesteps, None, Severity.WARNING, f"{what} ({where})")


def _of_event(event: Event) -> Happening:
    after = None if event.after_timesteps == event.by_timesteps else event.after_timesteps
    return Happening("", event.by_timesteps, after, Severity.OK, event.name)


def _checkpoints(run: Run, *, several: bool) -> str:
    steps = [one.timesteps for one in run.snapshots if one.timesteps is not None]
    number = len(run.snapshots)
    text = f"{number:,} checkpoint{'' if number == 1 else 's'} of {run.algorithm or 'an agent'}"
    if several:
        text += f", {run.name}"
    if steps:
        first, last = min(steps), max(steps)
        text += f" ({last:,} steps)" if first == last else f" ({first:,} to {last:,} steps)"
    return text


# -- replay buffers ----------------------------------------------------------------------------


def _stores(algorithm: str | None) -> bool:
    return algorithm is not None and algorithm in ALGORITHMS and ALGORITHMS[algorithm].replays


def _buffer_in(folder: Path, newest: Sequence[Snapshot]) -> Path | None:
    """Return the buffer saved with the newest checkpoint, or the newest beside it."""
    for snapshot in reversed(newest):
        checkpoint = Path(snapshot.report.path)
        buffer = buffer_of(checkpoint) or _named_one(checkpoint.parent)
        if buffer is not None:
            return buffer
    return _named_one(folder)


def _named_one(folder: Path) -> Path | None:
    try:
        newest = newest_in(folder)
    except SacdoctorError:
        return None
    return newest if _REPLAY in newest.name else None


def _buffer_reports(
    buffer: Path | None, options: ScanOptions
) -> tuple[tuple[Report, ...], tuple[Report, ...]]:
    """Return the report on a buffer where there is one, and the one that it cannot be read."""
    if buffer is None:
        return (), ()
    try:
        return (scan(buffer, options),), ()
    except SacdoctorError as error:
        return (), (report_of_error(error.at(buffer), options),)


def _of_buffers(reports: Iterable[Report]) -> Iterator[str]:
    for report in reports:
        if report.replay is not None:
            name, number = Path(report.path).name, report.replay.transitions
            yield f"{name} ({number:,} transitions)"


# -- the networks at work ----------------------------------------------------------------------


class _Work(NamedTuple):
    """What a network showed when it was set to work, or why it was not."""

    statuses: tuple[Status, ...] = ()
    findings: tuple[Finding, ...] = ()
    looked_at: tuple[str, ...] = ()
    not_there: tuple[str, ...] = ()


def _at_work(checkpoint: Path, buffer: Path | None, options: ScanOptions) -> _Work:
    """Return what the networks of a checkpoint do on the observations of a buffer."""
    if buffer is None:
        return _Work()  # an observation or two tell nothing
    try:
        probe = imported("sacdoctor.network", "probe", "sacdoctor checkup")
        report = probe(checkpoint, buffer=buffer, trust=options.trusted, options=options)
    except (ImportError, SacdoctorError) as error:
        reason = error.reason if isinstance(error, SacdoctorError) else str(error)
        return _Work(not_there=(f"{_WORK} ({reason})",))
    if report.status is Status.UNKNOWN:
        return _Work(not_there=tuple(f"{_WORK} ({note})" for note in report.notes[-1:]))
    looked_at = (f"{_WORK} on {report.count:,} observations",)
    return _Work((report.status,), report.findings, looked_at)


# -- what to type next -------------------------------------------------------------------------


def _commands(
    found: Sequence[Concern], newest: Path | None, buffers: Sequence[Report]
) -> Iterator[str]:
    """Yield what mends the concerns, as it can be typed, then what explains the worst of them."""
    worse = [one for one in found if one.finding.severity.rank >= Severity.WARNING.rank]
    cures = [cure for one in worse if (cure := _cure(one)) is not None]
    options = dict.fromkeys(cure.removeprefix("fix").strip() for cure in cures if _mends(cure))
    if newest is not None and options:
        yield " ".join(("sacdoctor fix", *filter(None, options), quote(str(newest))))
    if newest is not None and "fix-config" in cures:
        yield f"sacdoctor fix-config {quote(str(newest))}"
    for report in buffers:
        if _CLEAN in cures:
            path = Path(report.path)
            cleaned = path.with_name(f"{path.stem}_clean{path.suffix}")
            yield f"sacdoctor warmup {quote(str(path))} --clean {quote(str(cleaned))}"
    if worse:
        yield f"sacdoctor rules {worse[0].finding.rule}"


def _cure(concern: Concern) -> str | None:
    """Return the first command against it that asks for no value that only a person knows."""
    cures = rule_of(concern.finding).cured_by
    return next((cure for cure in cures if cure == _CLEAN or not _asks(cure)), None)


def _asks(cure: str) -> bool:
    return any(part.isupper() or part == "EARLIER.zip" for part in cure.split())


def _mends(cure: str) -> bool:
    return cure.split()[0] == "fix"


def _below(path: str, folder: Path) -> str:
    try:
        return Path(path).relative_to(folder).as_posix()
    except ValueError:
        return path
