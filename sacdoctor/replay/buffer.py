"""A replay buffer that stands open: its transitions by name and in order of time, whatever kind of
file they are in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sacdoctor.files import fetch_into, fetched, is_held, refuse_changed

_CHUNK = 8 * 1024**2
"""Bytes of one array that are looked at in one go."""


@dataclass(frozen=True, slots=True, eq=False)
class ReplayBuffer:
    """An open replay buffer; the file stays open while this or a view of it is held.

    `capacity` rows are allocated, `size` of them filled, each with one transition per environment.
    Arrays are views of the whole allocation, to be looked at through `origin.read`, `rows` or
    `take`, shape `(capacity, n_envs, …)`:
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
        """Yield the rows from the `start`-th oldest up to `stop`, in order of time, in copies."""
        array = self.arrays[name]
        step = max(1, _CHUNK // max(1, array.nbytes // max(1, len(array))))
        time = start
        while time < stop:
            row = self.row_of(time)
            count = min(step, stop - time, self.capacity - row)
            yield self.origin.read(array[row : row + count]).copy()
            time += count

    def take(self, name: str, times: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of the rows that are the `times`-th oldest ones."""
        array = self.arrays[name]
        rows = (times + (self.pos if self.full else 0)) % self.capacity
        taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
        if not self.origin.is_held(array):
            return np.take(array, rows, axis=0, out=taken)
        if not array.flags.c_contiguous:
            return np.take(self.origin.read(array), rows, axis=0, out=taken)
        if len(rows):
            self.origin.read_rows(array, rows, taken)
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
        at = self._offset(array)
        inside = 0 <= at <= len(self.data) - array.nbytes
        return (at, at + array.nbytes) if inside and array.flags.c_contiguous else None

    def is_held(self, array: NDArray[Any]) -> bool:
        """Return whether the elements of a view stand in a large file, and have to be read."""
        if not is_held(self.data) or not array.size:
            return False
        return 0 <= self._offset(array) < len(self.data)

    def _offset(self, array: NDArray[Any]) -> int:
        start: int = np.frombuffer(self.data, np.uint8).__array_interface__["data"][0]
        at: int = array.__array_interface__["data"][0]
        return at - start

    def read(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the elements of a view, ready to be looked at.

        Raises `ChangedFile` where the file has become too short.
        """
        if not self.is_held(array):
            return array
        at = self._offset(array)
        last = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True))
        data = fetched(self.data[at : at + last + array.itemsize])
        return np.ndarray(array.shape, array.dtype, data, strides=array.strides)

    def read_rows(self, array: NDArray[Any], rows: NDArray[Any], taken: NDArray[Any]) -> None:
        """Read some rows of a contiguous view that is held, neighbours together, into `taken`."""
        start, size, into = self._offset(array), array.strides[0], taken.data.cast("B")
        ends = np.flatnonzero(np.diff(rows) != 1) + 1
        firsts = rows[np.concatenate(([0], ends))].tolist()
        for row, (at, end) in zip(firsts, pairwise((0, *ends.tolist(), len(rows))), strict=True):
            place = start + row * size
            there = self.data[place : place + (end - at) * size]
            fetch_into(into[at * size : end * size], there)

    def refuse_changed(self) -> None:
        """Raise `ChangedFile` where the file is another than when it was opened."""
        refuse_changed(self.data)
