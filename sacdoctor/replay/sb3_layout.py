"""Replay buffers of SB3, and of classes made from them: rows of a transition per environment.

Source: stable_baselines3/common/buffers.py and stable_baselines3/her/her_replay_buffer.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.pickles import Made, PickledArray, Places, class_of
from sacdoctor.replay.buffer import ReplayBuffer
from sacdoctor.replay.pickle_origin import PickleOrigin, Replacement, unsuited
from sacdoctor.replay.shortening import PIECE

_SB3 = "stable_baselines3."
_COUNTS = ("buffer_size", "n_envs", "pos", "full")
"""What any of its buffers has, and hardly another class."""
_OURS = "sacdoctor.training"
_ARRAYS = frozenset(
    ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
)
_EPISODES = frozenset(("ep_start", "ep_length"))


class _Sb3Origin(PickleOrigin):
    """The pickle of such a buffer; `state` has its attributes."""

    recomputed = _EPISODES

    def __init__(self, data: memoryview, places: Places, state: Mapping[str, Any]) -> None:
        super().__init__(data, places)
        self.state = state
        self.fixed = (*state, *(state.get(key) for key in _COUNTS[:2]))

    def replacements(self, buffer: ReplayBuffer, rows: int) -> Iterator[Replacement]:
        yield self.number("pos", (self.state,), buffer.size - rows)
        yield self.number("full", (self.state,), False)
        self._check_infos()
        for key, value in self.state.items():
            if key not in buffer.arrays and _has_rows(value, buffer.capacity):
                raise unsuited(f"its {key!r} have a row per step, in another layout than SB3's")
        replaced = self._episodes(buffer, rows)
        places: set[int] = set()
        for name, array in (*buffer.arrays.items(), *self._current_start(buffer)):
            place = self.place_of(array)
            if place is None:
                raise unsuited(f"{name} are not kept as plain bytes, row by row")
            if place[0] in places:
                continue
            places.add(place[0])
            new = replaced.get(name)
            pieces = _moved(buffer, name, rows) if new is None else iter((new.tobytes(),))
            yield Replacement(*place, pieces)

    # -- HER's episodes ------------------------------------------------------------------------

    @property
    def _is_hers(self) -> bool:
        return "_current_ep_start" in self.state or not _EPISODES.isdisjoint(self.state)

    def _check_infos(self) -> None:
        infos = self.state.get("infos")
        if isinstance(infos, PickledArray) and any(infos.objects or ()):
            raise UnsupportedCheckpoint(
                "it cannot be cleaned here: it keeps the infos of its steps as Python objects "
                "(copy_info_dict=True)"
            )

    def _current_start(self, buffer: ReplayBuffer) -> Iterator[tuple[str, NDArray[Any]]]:
        if self._is_hers:
            current = self.state.get("_current_ep_start")
            if not isinstance(current, PickledArray) or current.view().shape != (buffer.n_envs,):
                raise CorruptCheckpoint("its _current_ep_start is not one number per environment")
            yield "_current_ep_start", current.view()

    def _episodes(self, buffer: ReplayBuffer, rows: int) -> Mapping[str, NDArray[Any]]:
        """Return HER's arrays about episodes once `rows` are gone; empty without HER.

        `ep_start` and `ep_length`, shape `(capacity, n_envs)`: where each row's episode starts and
        how long it is, 0 where it is not complete. Of one that is cut only its later part stays.
        """
        if not self._is_hers:
            return {}
        for name in ("ep_start", "ep_length"):
            if name not in buffer.arrays or buffer.arrays[name].ndim != 2:
                raise CorruptCheckpoint(f"its {name} is missing, or not one number per transition")
        times = np.arange(rows, buffer.size)
        new: dict[str, NDArray[Any]] = {}
        start = buffer.take("ep_start", times)
        length = buffer.take("ep_length", times)
        row = (times + (buffer.pos if buffer.full else 0)) % buffer.capacity
        into = (row[:, None] - start) % buffer.capacity
        cut = np.maximum(into - (times - rows)[:, None], 0)
        for name, kept in (
            ("ep_start", np.maximum((times - rows)[:, None] - into, 0)),
            ("ep_length", np.where(length > 0, np.maximum(length - cut, 0), 0)),
        ):
            array = buffer.arrays[name]
            new[name] = np.zeros(array.shape, array.dtype)
            new[name][: len(times)] = kept
        ((name, current),) = self._current_start(buffer)
        current = self.read(current)
        taken = (buffer.pos - current) % buffer.capacity
        new[name] = np.maximum(buffer.size - rows - taken, 0).astype(current.dtype)
        return new


def sb3_buffer(data: memoryview, made: Any, places: Places) -> ReplayBuffer | None:
    """Return the buffer that a pickle describes, None where it is none of SB3's layout.

    Raises `CorruptCheckpoint` where it contradicts itself, `UnsupportedCheckpoint` for the layout
    before SB3 1.0.
    """
    name = (class_of(made) if isinstance(made, Made) else None) or ""
    state = made.states[0] if isinstance(made, Made) and made.states else None
    if not isinstance(state, dict) or not all(key in state for key in _COUNTS):
        return None
    short = name.rpartition(".")[2]
    if "observations" not in state:
        if not name.startswith(_SB3):
            return None
        raise UnsupportedCheckpoint(
            f"its {short} keeps its transitions in another layout than SB3 1.0 and later"
        )
    capacity, n_envs, pos = (_whole(state, key) for key in ("buffer_size", "n_envs", "pos"))
    full = state.get("full")
    if not isinstance(full, bool) or not 0 <= pos < capacity:
        raise CorruptCheckpoint(
            f"its position {pos:,} is outside of its {capacity:,} rows, or it does not say "
            "whether it is full"
        )
    is_own = not name.startswith((_SB3, _OURS))
    arrays = dict(_arrays(state, (capacity, n_envs) if is_own else None))
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
    shares = not parts["next_observations"]
    return ReplayBuffer(
        class_name=short,
        capacity=capacity,
        n_envs=n_envs,
        pos=pos,
        full=full,
        optimize_memory_usage=shares,
        # The observation of the oldest was overwritten by the one after the newest.
        whole=range(int(shares and full), capacity if full else pos),
        arrays=arrays,
        origin=_Sb3Origin(data, places, state),
        is_sb3s=True,
        handle_timeout_termination=state.get("handle_timeout_termination") is not False,
    )


def _arrays(
    state: Mapping[str, Any], shape: tuple[int, int] | None
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays that have a row per step, by name; HER's infos are Python objects.

    A class of the user's may have others: there `shape` tells which are, beside SB3's.
    """
    for key, value in state.items():
        if not isinstance(key, str):
            raise CorruptCheckpoint("one of its attributes has a name that is no text")
        if isinstance(value, PickledArray):
            is_other = shape is not None and key not in _ARRAYS and _first_two(value) != shape
            if value.objects is None and key != "_current_ep_start" and not is_other:
                yield key, value.view()
        elif isinstance(value, dict) and key in ("observations", "next_observations"):
            for part, array in value.items():
                if not isinstance(part, str) or not isinstance(array, PickledArray):
                    raise CorruptCheckpoint(f"its {key} hold something that is no array")
                yield f"{key}.{part}", array.view()


def _first_two(value: PickledArray) -> tuple[Any, ...]:
    return value.shape[:2] if isinstance(value.shape, tuple) else ()


def _has_rows(value: Any, rows: int) -> bool:
    if not isinstance(value, PickledArray) or value.objects is not None:
        return False
    return isinstance(value.shape, tuple) and value.shape[:1] == (rows,)


def _whole(state: Mapping[str, Any], key: str) -> int:
    value = state.get(key)
    if type(value) is not int or value < 0:
        raise CorruptCheckpoint(f"its {key} is no whole number")
    return value


def _moved(buffer: ReplayBuffer, name: str, rows: int) -> Iterator[bytes]:
    """Yield the bytes of an array whose rows moved to the front."""
    array, stop = buffer.arrays[name], buffer.size
    if buffer.optimize_memory_usage and name in buffer.observation_names:
        stop += 1  # the row behind the newest one holds its next observation
    left = array.nbytes
    for piece in buffer.rows(name, rows, stop):
        left -= piece.nbytes
        yield piece.tobytes()
    while left:
        zeros = min(left, PIECE)
        left -= zeros
        yield bytes(zeros)
