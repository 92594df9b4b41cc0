"""Processes on this machine, which work on some targets each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from sacdoctor.diagnosis import report_of_error
from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet.address import Address
from sacdoctor.fleet.look import Look, Target
from sacdoctor.model import Report

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

_AHEAD = 4
"""Reports per process that may wait to be written."""


def in_processes(look: Look, targets: Sequence[Target], processes: int) -> Iterator[Report | None]:
    """Yield a report per target, in their order.

    Where a process is ended from outside, what was under way is done once more, each target in a
    process of its own; one that ends that, too, has an error for its report.
    """
    from concurrent.futures.process import BrokenProcessPool

    is_remote = any(isinstance(target, Address) for target in targets)
    left = iter(targets)
    waiting: deque[tuple[Target, Future[Report | None]]] = deque()
    pool = _pool(processes, is_remote)
    try:
        while True:
            for target in islice(left, _AHEAD * processes + 1 - len(waiting)):
                waiting.append((target, pool.submit(look, target)))
            if not waiting:
                return
            try:
                report = waiting[0][1].result()
            except BrokenProcessPool:
                again = [target for target, _ in waiting]
                waiting.clear()
                for target in again:
                    yield _alone(look, target, is_remote)
                pool = _pool(processes, is_remote)
                continue
            waiting.popleft()
            yield report
    finally:
        pool.shutdown(cancel_futures=True)


def _alone(look: Look, target: Target, is_remote: bool) -> Report | None:
    from concurrent.futures.process import BrokenProcessPool

    with _pool(1, is_remote) as pool:
        try:
            return pool.submit(look, target).result()
        except BrokenProcessPool:
            return lost(target)


def lost(target: Target) -> Report:
    """Return the report of a target that nobody could be made to look at."""
    place = target.path if isinstance(target, SacdoctorError) else str(target)
    return report_of_error(
        SacdoctorError(
            "the process that looked at it was ended from outside, perhaps for lack of memory",
            place,
        )
    )


def _pool(processes: int, is_remote: bool) -> ProcessPoolExecutor:
    import multiprocessing
    import sys
    from concurrent.futures import ProcessPoolExecutor

    # Linux can share what is imported; elsewhere that is not safe, nor beside drivers' threads.
    is_shared = sys.platform == "linux" and not is_remote
    context: Any = multiprocessing.get_context("fork" if is_shared else "spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupts)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which every process of a terminal gets, to the one that waits for results."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
