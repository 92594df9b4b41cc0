"""Replay buffers that SB3's `model.save_replay_buffer()` wrote, over a memory map.

The file is one pickle. Nothing in it is imported, called or executed: its names are compared with a
short list, and its arrays become views of the map (stable_baselines3/common/buffers.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacdoctor.checkpoint import ForeignCheckpoint, foreign_bytes
from sacdoctor.errors import (
    CorruptCheckpoint,
    NotACheckpoint,
    SacdoctorError,
    UnsupportedCheckpoint,
)
from sacdoctor.files import map_file, release
from sacdoctor.pickles import (
    ENCODED_BYTES,
    NUMPY_ARRAYS,
    ListedNames,
    Made,
    Name,
    PickledArray,
    Places,
    WalkBudget,
    read_placed_pickle,
    unlisted,
)

HER = "HerReplayBuffer"
_CLASSES = {
    ("stable_baselines3.common.buffers", "ReplayBuffer"),
    ("stable_baselines3.common.buffers", "DictReplayBuffer"),
    ("stable_baselines3.common.buffers", "NStepReplayBuffer"),
    ("stable_baselines3.her.her_replay_buffer", HER),
    ("sacdoctor.training", "ExecutedActionReplayBuffer"),
    ("sacdoctor.training", "ExecutedActionDictReplayBuffer"),
    ("sacdoctor.training.executed_actions", "ExecutedActionReplayBuffer"),
    ("sacdoctor.training.executed_actions", "ExecutedActionDictReplayBuffer"),
}
"""The buffers that are read. Their attributes are the same; HER's adds episodes. Version
0.1.0 had ours in a module of their own."""

_SPACES = {
    *(("box", "Box"), ("discrete", "Discrete"), ("multi_discrete", "MultiDiscrete")),
    *(("multi_binary", "MultiBinary"), ("dict", "Dict"), ("tuple", "Tuple")),
}
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_OTHERS = {
    *((f"{gym}.spaces.{module}", name) for gym in ("gym", "gymnasium") for module, name in _SPACES),
    ("gym.utils.seeding", "RandomNumberGenerator"),
    ("gym.utils.seeding", "RandomNumberGenerator._generator_ctor"),
    ("numpy", "ndarray"),
    *(("numpy.random._pickle", f"__{name}_ctor") for name in ("generator", "bit_generator")),
    ("numpy.random._pickle", "__randomstate_ctor"),
    *((f"numpy.random._{name.lower()[:5]}", name) for name in ("PCG64", "PCG64DXSM")),
    *((f"numpy.random._{name.lower()}", name) for name in _GENERATORS[2:]),
    ("numpy.random.bit_generator", "SeedSequence"),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
    ("numpy.random._bit_generator", "SeedSequence"),
    ("numpy.random._bit_generator", "__pyx_unpickle_SeedSequence"),
    ("stable_baselines3.her.goal_selection_strategy", "GoalSelectionStrategy"),
    ("torch", "device"),
    ("collections", "OrderedDict"),
    ("collections", "deque"),
    *(("pathlib", name) for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath")),
    ("builtins", "set"),
    ("builtins", "frozenset"),
}
"""What the attributes of SB3's buffers refer to beside arrays: spaces with their random generators,
the device, HER's strategy."""
_READER = "replay buffer of SB3"


def _strategy(owner: Any = None, name: Any = None) -> Made:
    """How Python 3.11 and 3.12 may pickle a member of an enumeration: only HER's is taken."""
    getattr_ = Name("builtins", "getattr")
    if not isinstance(owner, Name) or owner.qualname != "GoalSelectionStrategy":
        raise unlisted(getattr_, _READER)
    return Made(getattr_, (owner, name))


_NAMES: Mapping[tuple[str, str], Any] = {
    **{name: Name(*name) for name in _CLASSES | _OTHERS},
    **NUMPY_ARRAYS,
    **ENCODED_BYTES,
    ("builtins", "getattr"): _strategy,
}

_EDITED = ("pos", "full")
"""Attributes that are written anew where they stand."""
_CHUNK = 8 * 1024**2
"""Bytes of one array that are looked at in one go."""
_TAKEN_AT_ONCE = 256
"""Single rows that are read before their pages are let go."""


@dataclass(frozen=True, slots=True, eq=False)
class ReplayBuffer:
    """An open replay buffer; the file stays mapped while this or a view of it is held.

    `capacity` rows are allocated, `size` of them filled, each with one transition per environment.
    Arrays are read-only views of the whole allocation, shape `(capacity, n_envs, …)`, by the name
    of their attribute; Dict observations by `observations.KEY`. `episodes` has HER's
    `_current_ep_start`, shape `(n_envs,)`.
    """

    class_name: str
    capacity: int
    n_envs: int
    pos: int
    full: bool
    optimize_memory_usage: bool
    arrays: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, Any]
    places: Mapping[str, tuple[int, int]]
    frames: tuple[tuple[int, int], ...]
    buffer: memoryview = field(repr=False)

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
            self._release(array[row : row + count])
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
            self._release(array)
        return taken

    def position(self, array: NDArray[Any]) -> int:
        """Return where in the file the elements of a view begin."""
        start: int = np.frombuffer(self.buffer, np.uint8).__array_interface__["data"][0]
        at: int = array.__array_interface__["data"][0]
        return at - start

    def _release(self, array: NDArray[Any]) -> None:
        at = self.position(array)
        if array.flags.c_contiguous and 0 <= at < len(self.buffer):
            release(self.buffer[at : at + array.nbytes], at)


def read_replay_buffer(path: str | Path) -> ReplayBuffer:
    """Return the replay buffer in a file.

    Raises `UnlistedName` for a pickle that asks for anything a replay buffer of SB3 does not need,
    `CorruptCheckpoint` where a claim and the bytes disagree, `UnsupportedCheckpoint` for layouts
    that are not read here, `NotACheckpoint` for what is no pickle.
    """
    try:
        data = map_file(Path(path))
        if bytes(data[:1]) != b"\x80":
            kind = foreign_bytes(data)
            if kind is not None:
                raise ForeignCheckpoint(kind)
            raise NotACheckpoint("it is not a pickle, as model.save_replay_buffer() writes one")
        names = ListedNames(_NAMES, reader=_READER)
        budget = WalkBudget.of_buffer(len(data))
        made, places = read_placed_pickle(data, names, _EDITED, budget)
        return _buffer(data, made, places)
    except SacdoctorError as error:
        raise error.at(path) from None


def _buffer(data: memoryview, made: Any, places: Places) -> ReplayBuffer:
    state = made.states[0] if isinstance(made, Made) and made.states else None
    name = made.function if isinstance(made, Made) else None
    if not isinstance(name, Name) or (name.module, name.qualname) not in _CLASSES:
        raise UnsupportedCheckpoint("it is a pickle, but not of a replay buffer")
    if not isinstance(state, dict) or "observations" not in state:
        raise UnsupportedCheckpoint(
            f"its {name.qualname} keeps its transitions in another layout than SB3 1.0 and later"
        )
    capacity, n_envs, pos = (_whole(state, key) for key in ("buffer_size", "n_envs", "pos"))
    full = state.get("full")
    if not isinstance(full, bool) or not 0 <= pos < capacity:
        raise CorruptCheckpoint(
            f"its position {pos:,} is outside of its {capacity:,} rows, or it does not say "
            "whether it is full"
        )
    arrays = dict(_arrays(state))
    for key, array in arrays.items():
        if array.shape[:2] != (capacity, n_envs) or not array.size:
            raise CorruptCheckpoint(
                f"its {key} have shape {array.shape}, not {capacity:,} rows of {n_envs:,} "
                "environments"
            )
    parts: dict[str, set[str]] = {"observations": set(), "next_observations": set()}
    for key in arrays:
        which, _, part = key.partition(".")
        if which in parts:
            parts[which].add(part)
    if not parts["observations"] or parts["next_observations"] not in (
        set(),
        parts["observations"],
    ):
        raise CorruptCheckpoint("its observations are missing, or not those of the next step")
    for key in ("actions", "rewards", "dones"):
        if key not in arrays or (key != "actions" and arrays[key].ndim != 2):
            raise CorruptCheckpoint(f"its {key} are missing, or not one number per transition")
    return ReplayBuffer(
        class_name=name.qualname,
        capacity=capacity,
        n_envs=n_envs,
        pos=pos,
        full=full,
        optimize_memory_usage=not parts["next_observations"],
        arrays=arrays,
        attributes=state,
        places={value.key: value.place for value in places.values if value.target is state},
        frames=tuple(places.frames),
        buffer=data,
    )


def _arrays(state: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays that have a row per step, by name; HER's infos are Python objects."""
    for key, value in state.items():
        if not isinstance(key, str):
            raise CorruptCheckpoint("one of its attributes has a name that is no text")
        if isinstance(value, PickledArray):
            if value.objects is None and key != "_current_ep_start":
                yield key, value.view()
        elif isinstance(value, dict) and key in ("observations", "next_observations"):
            for part, array in value.items():
                if not isinstance(part, str) or not isinstance(array, PickledArray):
                    raise CorruptCheckpoint(f"its {key} hold something that is no array")
                yield f"{key}.{part}", array.view()


def _whole(state: Mapping[str, Any], key: str) -> int:
    value = state.get(key)
    if type(value) is not int or value < 0:
        raise CorruptCheckpoint(f"its {key} is no whole number")
    return value
