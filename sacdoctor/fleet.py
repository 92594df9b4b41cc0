"""Many checkpoints at once: finding them, and scanning them on all processors."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sacdoctor.checkpoint import ForeignCheckpoint, checkpoints_below, foreign_folder
from sacdoctor.diagnosis import looks_at_code_alone, report_of_error, scan
from sacdoctor.errors import SacdoctorError
from sacdoctor.files import as_saved, entered_below
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions
from sacdoctor.trust import ENDINGS, holds_hidden_pickle

Target = Path | SacdoctorError
"""A checkpoint to open, or why there is none at the place that was asked for."""

_MANY = 16
"""Targets from which starting further processes takes less time than they save."""
_AHEAD = 4
"""Reports per process that may wait to be written."""


def find_checkpoints(paths: Iterable[str], options: ScanOptions | None = None) -> list[Target]:
    """Return what `paths` (files, folders, shell-style patterns) stand for, each file once.

    A name stands for the file that SB3 saved under it; `model` may be model.zip. A folder stands
    for every `.zip` below it; where `options` look at code alone, for every pickle below it, and
    what was not entered on the way is an error, too. What leads nowhere becomes an error in its
    place.
    """
    is_gate = options is not None and looks_at_code_alone(options)
    found: dict[str, Target] = {}
    for path in paths:
        for target in _targets(path, is_gate):
            found.setdefault(str(target), target)
    return list(found.values())


def scan_all(targets: Sequence[Target], options: ScanOptions) -> Iterator[Report]:
    """Yield a report per target, in their order; one that cannot be read has status `error`.

    From `_MANY` targets on each processor scans some of them. Memory does not grow with their
    number.
    """
    processes = min(_processors(), len(targets) // (_MANY // 2))
    if processes < 2:
        for target in targets:
            yield _report(target, options)
    else:
        yield from _scan_in_parallel(targets, options, processes)


def _report(target: Target, options: ScanOptions) -> Report:
    try:
        if isinstance(target, SacdoctorError):
            raise target
        return scan(target, options)
    except SacdoctorError as error:
        return report_of_error(error, options)


def _scan_in_parallel(
    targets: Sequence[Target], options: ScanOptions, processes: int
) -> Iterator[Report]:
    import multiprocessing
    import sys
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Linux can share what is imported; elsewhere that is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    waiting: deque[Future[Report]] = deque()
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupts)
    try:
        for target in targets:
            waiting.append(pool.submit(_report, target, options))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise SacdoctorError(
            "a process that was scanning was ended from outside, perhaps for lack of memory; "
            "scan fewer checkpoints at once"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which every process of a terminal gets, to the one that waits for results."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _nothing_below(folder: str, endings: tuple[str, ...]) -> SacdoctorError:
    """Return what to say of a folder without checkpoints: what it is, where that is known."""
    kind = foreign_folder(folder)
    if kind is not None:
        return ForeignCheckpoint(kind).at(folder)
    return SacdoctorError(f"the folder holds no {', '.join(endings)} file", folder)


def _pickles_below(folder: str) -> Iterator[Target]:
    """Yield what holds a pickle, whatever its name, and an error for what was not looked into."""
    for found in entered_below(folder):
        if isinstance(found, SacdoctorError) or found.name.lower().endswith(ENDINGS):
            yield found
            continue
        try:
            if holds_hidden_pickle(found):
                yield found
        except SacdoctorError as error:
            yield error.at(found)


def _place(target: Target) -> Path:
    return target if isinstance(target, Path) else Path(target.path or "")


def _targets(path: str, is_gate: bool) -> list[Target]:
    path = as_saved(path)
    if os.path.isdir(path):
        below = sorted(_pickles_below(path), key=_place) if is_gate else checkpoints_below(path)
        return [*below] or [_nothing_below(path, ENDINGS if is_gate else (".zip",))]
    if not os.path.lexists(path) and glob.has_magic(path):
        matches: list[Target] = []
        for match in sorted(glob.glob(path, recursive=True)):
            matches += _targets(match, is_gate) if os.path.isdir(match) else [Path(match)]
        return matches or [SacdoctorError("no file matches this pattern", path)]
    return [Path(path)]
