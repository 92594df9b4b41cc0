"""Who does the work: this process, others on this machine, or a Dask cluster.

An executor takes a look and targets, and yields a report for each, once, as they come. It has a
bounded number in flight, so that memory does not grow with their number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from sacdoctor.fleet.executors.processes import in_processes
from sacdoctor.fleet.look import Look, Target
from sacdoctor.model import Report

_MANY = 16
"""Targets from which starting further processes takes less time than they save."""

__all__ = ["reports_on"]


def reports_on(
    targets: Sequence[Target], look: Look, *, jobs: int | None = None, scheduler: str | None = None
) -> Iterator[Report]:
    """Yield a report per target; one that cannot be read has status `error`.

    They come in the order of the targets, from a cluster (the address of its `scheduler`) as they
    are ready. On this machine `jobs` processes work; unless told otherwise one for each processor,
    from `_MANY` targets on. What an address leads to, and holds no pickle where one was looked
    for, has no report.
    """
    if scheduler is not None:
        from sacdoctor.fleet.executors.cluster import on_cluster

        return _told(on_cluster(look, targets, scheduler))
    wanted = min(_processors(), len(targets) // (_MANY // 2)) if jobs is None else jobs
    if min(wanted, len(targets)) < 2:
        return _told(map(look, targets))
    return _told(in_processes(look, targets, min(wanted, len(targets))))


def _told(reports: Iterator[Report | None]) -> Iterator[Report]:
    return (report for report in reports if report is not None)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
