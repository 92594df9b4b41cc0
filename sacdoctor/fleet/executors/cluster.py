"""A Dask cluster: workers anywhere that have sacdoctor installed, and reach what is looked at."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet.executors.processes import lost
from sacdoctor.fleet.look import Look, Target
from sacdoctor.model import Report

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 30
"""Seconds for the scheduler to answer, and then for its first worker to be there."""
_AT_ONCE = 16
"""Targets in one task: one takes milliseconds, and so does a task."""
_TASKS = 3
"""Tasks in flight for each thread of a worker: one at work, the others on their way."""


def on_cluster(look: Look, targets: Sequence[Target], scheduler: str) -> Iterator[Report | None]:
    """Yield a report per target, as they are ready.

    What a lost worker was at is done by another. A task that ends several is done again, each of
    its targets alone, and one that still ends them has an error for its report. However this ends,
    no task stays behind. Raises `SacdoctorError` where there is no scheduler or no worker.
    """
    client = _client(scheduler)
    try:
        threads = sum(client.nthreads().values())
        size = max(1, min(_AT_ONCE, len(targets) // (2 * _TASKS * threads)))
        yield from _reports(client, look, _batches(targets, size), _TASKS * threads)
    finally:
        client.close()


def _reports(
    client: Client, look: Look, batches: Iterator[tuple[Target, ...]], most: int
) -> Iterator[Report | None]:
    from distributed import KilledWorker, as_completed

    flight: dict[Any, tuple[Target, ...]] = {}
    ready = as_completed(loop=client.loop)

    def start(batch: tuple[Target, ...]) -> None:
        future = client.submit(_looked_at, look, batch, pure=False)
        flight[future] = batch
        ready.add(future)

    try:
        for batch in islice(batches, most):
            start(batch)
        for future in ready:
            batch = flight.pop(future)
            try:
                yield from future.result()
            except KilledWorker:
                if len(batch) == 1:
                    yield lost(batch[0])
                for target in batch if len(batch) > 1 else ():
                    start((target,))
            except ModuleNotFoundError as error:
                raise SacdoctorError(f"its workers lack {error.name}: install it there") from None
            del future
            for batch in islice(batches, max(0, most - len(flight))):
                start(batch)
    finally:
        client.cancel([*flight], force=True)


def _batches(targets: Sequence[Target], size: int) -> Iterator[tuple[Target, ...]]:
    left = iter(targets)
    while batch := tuple(islice(left, size)):
        yield batch


def _looked_at(look: Look, batch: Sequence[Target]) -> list[Report | None]:
    """Return the reports of some targets; a worker runs this."""
    return [look(target) for target in batch]


def _client(scheduler: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise SacdoctorError(
            "--scheduler needs distributed: pip install 'sacdoctor[cluster]'"
        ) from None
    # That a worker was lost, and what it had is done again, is no news to whoever waits.
    logging.getLogger("distributed.client").setLevel(logging.ERROR)
    try:
        client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        words = str(error).partition("\n")[0]
        raise SacdoctorError(f"no Dask scheduler answers: {words}", scheduler) from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.close()
        raise SacdoctorError("the scheduler has no workers", scheduler) from None
    return client
