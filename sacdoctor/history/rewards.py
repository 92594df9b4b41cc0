"""The rewards of a run: crashes in its logs, and what came just before each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.history.crash import SMOOTHING, Fall, falls, low_end, needed
from sacdoctor.history.evaluations import EvaluationLog
from sacdoctor.history.model import Crash, Event, LogNote, RewardCurve, Run
from sacdoctor.history.monitor import MonitorLog
from sacdoctor.history.scalars import (
    EPISODE_LENGTH,
    LEARNING_RATE,
    REWARD,
    UPDATES,
    VALUES,
    ScalarLog,
)
from sacdoctor.settings import RATE_STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

JUST_BEFORE = 0.1
"""Of the timesteps of the whole log: what happened within so many is told as what came before."""
_LONGEST_LAG = 1_000_000
"""In rows: a garbled length of an episode may be any number."""
_POINTS = 60
"""Values of a reward curve that are kept for a picture."""


def crashes(
    monitors: Sequence[MonitorLog],
    scalars: Sequence[ScalarLog],
    evaluations: Sequence[EvaluationLog],
    runs: Sequence[Run],
    folder: Path,
) -> list[Crash]:
    """Return the crashes in all logs of a run's folder, in the order of time.

    Episodes are judged where a Monitor wrote them down; without, the running mean that SB3 logs.
    Evaluations are judged in any case, by their means: what they show is the policy by itself.
    A crash that several logs of one training show is one.
    """
    found: list[_Place] = []
    monitors, means = _judged(monitors, scalars)
    for monitor in monitors:
        log, steps = _beside(monitor.path, scalars), monitor.timesteps
        for fall in falls(monitor.returns, 0, steps):
            episode = int(monitor.numbers[fall.index])
            crash = _crash(monitor.path, fall, episode, steps, log, runs, folder)
            _add(found, _Place(crash, crash.timesteps / steps[-1], run_of(monitor.path, runs)))
    for log in means:
        series = log.series[REWARD].finite
        steps = series.timesteps
        for fall in falls(series.values, _lag(log), steps):
            crash = _crash(log.path, fall, None, steps, log, runs, folder)
            share = crash.timesteps / max(int(steps[-1]), 1)
            _add(found, _Place(crash, share, run_of(log.path, runs)))
    for evaluation in evaluations:
        log, steps = _beside(evaluation.path, scalars), evaluation.timesteps
        for fall in falls(evaluation.returns, 0, steps):
            crash = _crash(evaluation.path, fall, None, steps, log, runs, folder)
            share = crash.timesteps / max(int(steps[-1]), 1)
            _add(found, _Place(crash, share, run_of(evaluation.path, runs)))
    return sorted((place.crash for place in found), key=lambda crash: (crash.timesteps, crash.log))


class _Place(Struct):
    """A crash, at which share of its log's timesteps it is, and of which run, as far as known.

    A log of one of several environments counts its own timesteps: only their share can be compared.
    """

    crash: Crash
    share: float
    run: Run | None


def _add(found: list[_Place], place: _Place) -> None:
    """Add a crash to those found, or its log to the one that it is the same as."""
    for known in found:
        if _is_same(known, place):
            also_in = (*known.crash.also_in, place.crash.log)
            known.crash = replace(known.crash, also_in=also_in)
            return
    found.append(place)


def _is_same(a: _Place, b: _Place) -> bool:
    """Return whether two logs tell of one crash: at the same time, between the same levels."""
    if b.crash.log in (a.crash.log, *a.crash.also_in) or a.run is not b.run:
        return False
    middles = [(place.crash.before + place.crash.after) / 2.0 for place in (a, b)]
    return (
        abs(a.share - b.share) <= JUST_BEFORE
        and a.crash.after < middles[1] < a.crash.before
        and b.crash.after < middles[0] < b.crash.before
    )


def not_finite(
    monitors: Sequence[MonitorLog],
    scalars: Sequence[ScalarLog],
    evaluations: Sequence[EvaluationLog],
) -> list[LogNote]:
    """Return which logs have rewards that are NaN or infinite, and since when."""
    places = [
        (log.path, "return", len(log.non_finite), "episode", log.non_finite) for log in monitors
    ]
    for log in scalars:
        series = log.series.get(REWARD)
        if series is not None:
            steps = series.timesteps[~np.isfinite(series.values)]
            places.append((log.path, "mean return", len(steps), "step", steps))
    places += [
        (of.path, "evaluation", len(of.non_finite), "step", of.non_finite) for of in evaluations
    ]
    return [
        LogNote(
            str(path),
            f"{count:,} {what}{' is' if count == 1 else 's are'} NaN or infinite, the first at "
            f"{unit} {int(where[0]):,}",
        )
        for path, what, count, unit, where in places
        if count
    ]


def too_short(
    monitors: Sequence[MonitorLog],
    scalars: Sequence[ScalarLog],
    evaluations: Sequence[EvaluationLog],
) -> list[LogNote]:
    """Return which of the logs that would be judged are too short for it.

    An empty log is told of only where there is no other, and so are evaluations.
    """
    judged, means = _judged(monitors, scalars)
    sizes = [(log.path, "episode", len(log.returns), needed()) for log in judged]
    sizes += [
        (log.path, "row", len(log.series[REWARD].finite.values), needed(_lag(log))) for log in means
    ]
    if not sizes:
        sizes = [(of.path, "evaluation", len(of.returns), needed()) for of in evaluations]
    if not sizes:
        sizes = [(log.path, "episode", 0, needed()) for log in monitors]
        sizes += [(log.path, "row", 0, needed()) for log in scalars]
    return [
        LogNote(
            str(path),
            f"{count:,} {f'{unit} is' if count == 1 else f'{unit}s are'} too few to judge the "
            f"reward ({least:,} are needed)",
        )
        for path, unit, count, least in sizes
        if count < least
    ]


def low_ends(
    monitors: Sequence[MonitorLog],
    scalars: Sequence[ScalarLog],
    evaluations: Sequence[EvaluationLog],
) -> list[LogNote]:
    """Return which logs have lost most of what was learned by their end, and show no crash there.

    An unstable learner has, whenever it is stopped in one of its falls, and so has one that has
    collapsed: as long as none can tell the two apart, what can be seen is said.
    """
    judged, means = _judged(monitors, scalars)
    logs = [(log.path, "episode", log.returns, 0, log.timesteps) for log in judged]
    for mean in means:
        series = mean.series[REWARD].finite
        logs.append((mean.path, "row", series.values, _lag(mean), series.timesteps))
    logs += [(log.path, "evaluation", log.returns, 0, log.timesteps) for log in evaluations]
    return [
        LogNote(
            str(path),
            f"its last {end.count:,} {unit}s have lost most of what was learned (median "
            f"{end.final:.4g}, after {end.best:.4g}). As yet that may be one of the run's ups and "
            "downs, so it is no crash; an earlier checkpoint may be the better one",
        )
        for path, unit, values, lag, steps in logs
        for end in [low_end(values, lag)]
        if end is not None and all(fall.index < end.since for fall in falls(values, lag, steps))
    ]


def curves(
    monitors: Sequence[MonitorLog],
    scalars: Sequence[ScalarLog],
    evaluations: Sequence[EvaluationLog],
    runs: Sequence[Run],
    folder: Path,
) -> list[RewardCurve]:
    """Return the returns of each log, thinned out to medians of equally many episodes."""
    monitors, means = _judged(monitors, scalars)

    def curve(
        log: MonitorLog | ScalarLog | EvaluationLog, values: NDArray[Any], steps: NDArray[Any]
    ) -> RewardCurve:
        run = run_of(log.path, runs)
        return RewardCurve(
            log_name(log.path, folder),
            len(values) if isinstance(log, MonitorLog) else None,
            _thinned(values),
            len(values) >= needed(_lag(log) if isinstance(log, ScalarLog) else 0),
            len(values) if isinstance(log, EvaluationLog) else None,
            tuple(map(int, _thinned(steps))),
            run.name if run is not None else None,
        )

    found = [curve(log, log.returns, log.timesteps) for log in monitors]
    for log in means:
        series = log.series[REWARD].finite
        found.append(curve(log, series.values, series.timesteps))
    return found + [curve(log, log.returns, log.timesteps) for log in evaluations]


def _judged(
    monitors: Sequence[MonitorLog], scalars: Sequence[ScalarLog]
) -> tuple[list[MonitorLog], list[ScalarLog]]:
    """Return the logs that tell the rewards: those of episodes, or else those of means."""
    of_episodes = [log for log in monitors if len(log.returns)]
    if of_episodes:
        return of_episodes, []
    return [], [
        log for log in scalars if REWARD in log.series and len(log.series[REWARD].finite.values)
    ]


def _crash(
    path: Path,
    fall: Fall,
    episode: int | None,
    timesteps: NDArray[Any],
    log: ScalarLog | None,
    runs: Sequence[Run],
    folder: Path,
) -> Crash:
    step = int(timesteps[fall.index])
    since = step - JUST_BEFORE * int(timesteps[-1])
    near: dict[str, Event] = {}
    for event in (*_logged_events(log), *_checkpoint_events(run_of(path, runs))):
        if event.by_timesteps >= since and event.after_timesteps < step:
            known = near.get(event.name)
            if known is None or event.width < known.width:  # the log says it closer than the files
                near[event.name] = event
    values = {
        name: value
        for name in VALUES
        if log is not None and name in log.series
        for value in [log.series[name].at(step)]
        if value is not None
    }
    events = sorted(near.values(), key=lambda event: (event.by_timesteps, event.name))
    return Crash(
        log_name(path, folder), episode, step, fall.before, fall.after, tuple(events), values
    )


def _logged_events(log: ScalarLog | None) -> Iterable[Event]:
    """Yield the learning rate's steps and the first update that SB3's logger saw."""
    if log is None:
        return
    rates = log.series.get(LEARNING_RATE)
    if rates is not None:
        yield from _rate_steps(zip(rates.timesteps.tolist(), rates.values.tolist(), strict=True))
    updates = log.series.get(UPDATES) or rates  # TensorBoard has no `train/n_updates`
    reward = log.series.get(REWARD)
    if updates is not None and reward is not None and np.any(updates.values > 0):
        first = int(updates.timesteps[np.argmax(updates.values > 0)])
        rows_before = reward.timesteps[reward.timesteps < first]
        if len(rows_before):  # on-policy algorithms update before they log for the first time
            yield Event("updates began", int(rows_before[-1]), first)


def _checkpoint_events(run: Run | None) -> Iterable[Event]:
    """Yield the end of the warm-up, the onsets and the rate's steps between checkpoints."""
    if run is not None:
        placed = [s for s in run.snapshots if s.timesteps is not None and not s.is_repaired]
        for before, after in pairwise(placed):
            if before.report.n_updates == 0 and after.report.n_updates:
                yield Event("updates began", before.timesteps or 0, after.timesteps or 0)
        for start in {s.learning_starts for s in placed if s.learning_starts}:
            yield Event("warm-up ended (learning_starts)", start, start)
        for onset in run.onsets:
            if onset.after_timesteps is not None:
                yield Event(
                    f"{onset.rule} {onset.name} came up", onset.after_timesteps, onset.by_timesteps
                )
        for optimizer in {n for s in placed for n in s.report.optimizer_learning_rates}:
            yield from _rate_steps(
                (s.timesteps or 0, s.report.optimizer_learning_rates.get(optimizer) or 0.0)
                for s in placed
            )


def _rate_steps(points: Iterable[tuple[int, float]]) -> Iterable[Event]:
    last: tuple[int, float] | None = None
    for step, rate in points:
        if last is not None and rate > 0 and not 1 / RATE_STEP < rate / last[1] < RATE_STEP:
            yield Event(f"learning rate went from {last[1]:.3g} to {rate:.3g}", last[0], step)
        if rate > 0:
            last = step, rate


def _lag(log: ScalarLog) -> int:
    """Return over how many rows SB3's running mean smears a fall: those of 100 episodes."""
    between = float(np.median(np.diff(log.series[REWARD].finite.timesteps, prepend=0)))
    lengths = log.series[EPISODE_LENGTH].finite.values if EPISODE_LENGTH in log.series else ()
    if not len(lengths) or between <= 0:
        return 1
    rows = np.ceil(SMOOTHING * (float(np.median(lengths)) / between))
    return int(np.clip(rows, 1, _LONGEST_LAG))


def run_of(path: Path, runs: Sequence[Run]) -> Run | None:
    """Return the run that a log is of: the only one in or below its folder, else the only one."""
    folder = path if path.is_dir() else path.parent
    near = [
        run
        for run in runs
        if any(folder in Path(snapshot.report.path).parents for snapshot in run.snapshots)
    ]
    candidates = near or runs
    return candidates[0] if len(candidates) == 1 else None


def _beside(path: Path, scalars: Sequence[ScalarLog]) -> ScalarLog | None:
    """Return the log of the same training: in the same folder or below it, else the only one."""
    folder = path if path.is_dir() else path.parent
    for log in scalars:
        if folder in log.path.parents or folder == log.path:
            return log
    return scalars[0] if len(scalars) == 1 else None


def _thinned(values: NDArray[Any]) -> tuple[float, ...]:
    parts = np.array_split(values, min(_POINTS, len(values))) if len(values) else []
    return tuple(float(np.median(part)) for part in parts)


def log_name(path: Path, folder: Path) -> str:
    """Return how a log below `folder` is called."""
    return str(path.relative_to(folder)) if path != folder else path.name
