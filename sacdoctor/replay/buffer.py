"""A replay buffer that stands open: its transitions by name and in order of time, whatever kind of
file they are in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sacdoctor.files import release

_CHUNK = 8 * 1024**2
"""Bytes of one array that are looked at in one go."""
_TAKEN_AT_ONCE = 256
"""Single rows that are read before their pages are let go."""


@dataclass(frozen=True, slots=True, eq=False)
class ReplayBuffer:
    """An open replay buffer; the file stays mapped while this or a view of it is held.

    `capacity` rows are allocated, `size` of them filled, each with one transition per environment.
    Arrays are read-only views of the whole allocation, shape `(capacity, n_envs, …)`:
    `observations`, `actions`, `rewards`, and where they are kept `next_observations`, `dones`,
    `timeouts` and others of SB3's; Dict observations by `observations.KEY`. The newest row stands
    before `pos`; `full` says that rows behind it are older ones, not free.

    `optimize_memory_usage`: an observation's next one is that of the next row, as there are no
    `next_observations`. `whole` are the times of the transitions that have both. `is_sb3s`: the
    class is SB3's, or made from one. `handle_timeout_termination`: SB3's setting to keep ends by a
    limit of steps apart, its default where the file does not say.
    """

    class_name: str
    capacity: int
    n_envs: int
    pos: int
    full: bool
    optimize_memory_usage: bool
    whole: range
    arrays: Mapping[str, NDArray[Any]]
    origin: Origin = field(repr=False)
    is_sb3s: bool = False
    handle_timeout_termination: bool = True

    @property
    def size(self) -> int:
        """How many rows are filled."""
        return self.capacity if self.full else self.pos

    @property
    def transitions(self) -> int:
        """How many transitions are stored: rows times environments, as `num_timesteps` counts."""
        return self.size * self.n_envs

    @property
    def observation_names(self) -> tuple[str, ...]:
        """The names of the arrays of observations, in their order."""
        return tuple(name for name in self.arrays if name.partition(".")[0] == "observations")

    def row_of(self, time: int) -> int:
        """Return where the row of the `time`-th oldest filled row stands."""
        return (time + (self.pos if self.full else 0)) % self.capacity

    def rows(self, name: str, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """Yield the rows from the `start`-th oldest up to `stop`, in order of time, in copies.

        Pages of the file that were read are let go.
        """
        array = self.arrays[name]
        step = max(1, _CHUNK // max(1, array.nbytes // max(1, len(array))))
        time = start
        while time < stop:
            row = self.row_of(time)
            count = min(step, stop - time, self.capacity - row)
            yield array[row : row + count].copy()
            self.origin.release(array[row : row + count])
            time += count

    def take(self, name: str, times: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of the rows that are the `times`-th oldest ones.

        Pages of the file that were read are let go.
        """
        array = self.arrays[name]
        rows = (times + (self.pos if self.full else 0)) % self.capacity
        taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
        # The system maps a neighbourhood of every row that is read.
        for at in range(0, len(rows), _TAKEN_AT_ONCE):
            taken[at : at + _TAKEN_AT_ONCE] = array[rows[at : at + _TAKEN_AT_ONCE]]
            self.origin.release(array)
        return taken


class Origin(ABC):
    """The open file that a buffer was read from: it alone knows how to write one of its kind.

    `data` are the bytes of the file. `recomputed` are the arrays that are not only cut when
    transitions go. `fixed` is what a buffer that is written anew must have in common with the old
    one, beside its transitions.
    """

    data: memoryview
    recomputed: frozenset[str] = frozenset()
    fixed: Hashable = None

    @abstractmethod
    def without_oldest(self, buffer: ReplayBuffer, rows: int) -> Callable[[BinaryIO], None]:
        """Return what writes the buffer without its `rows` oldest rows to a file.

        All else stays as it is. Raises `UnsupportedCheckpoint` where that cannot be done, before
        anything is written.
        """

    def place_of(self, array: NDArray[Any]) -> tuple[int, int] | None:
        """Return where in the file the elements of a view stand, row by row.

        None where they do not: inflated, gathered from single objects, column by column.
        """
        start: int = np.frombuffer(self.data, np.uint8).__array_interface__["data"][0]
        at: int = array.__array_interface__["data"][0] - start
        inside = 0 <= at <= len(self.data) - array.nbytes
        return (at, at + array.nbytes) if inside and array.flags.c_contiguous else None

    def release(self, array: NDArray[Any]) -> None:
        """Let go of the file's pages under a view that was read."""
        place = self.place_of(array)
        if place is not None:
            release(self.data[place[0] : place[1]], place[0])
