"""A replay buffer written anew without its oldest rows, every other attribute as it was.

The bytes of the old file are copied; only rows of arrays, `pos`, `full` and HER's episodes change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacdoctor.errors import CorruptCheckpoint, SacdoctorError, UnsupportedCheckpoint
from sacdoctor.files import release, replace_file
from sacdoctor.pickles import PickledArray
from sacdoctor.replay.buffer import HER, ReplayBuffer, read_replay_buffer

_PIECE = 8 * 1024**2
_TRUE, _FALSE = b"\x88", b"\x89"
_WHOLE_NUMBERS = ((b"K", 2), (b"M", 3), (b"J", 5))
"""Opcodes of whole numbers and their lengths; what is longer does more than put a number there."""


class Replacement(NamedTuple):
    """Bytes of the old file, from `start` to `end`, and the `pieces` that come in their place."""

    start: int
    end: int
    pieces: Iterator[bytes | memoryview]


def write_without_oldest(
    buffer: ReplayBuffer, rows: int, path: Path, *, overwrite: bool = False
) -> None:
    """Write the buffer without its `rows` oldest rows to `path`, complete or not at all.

    The other rows move to the front, in order of time; the freed ones are zero, as in a fresh
    buffer. HER's episodes move along: of one that is cut only its later part stays. The new file is
    read back and compared before it takes its name.

    Raises `ValueError` unless some rows go and some stay, `UnsupportedCheckpoint` for a buffer that
    cannot be written this way, `SacdoctorError` where the file cannot be written.
    """
    if not 0 < rows < buffer.size:
        raise ValueError(f"rows must be 1 to {buffer.size - 1}, got {rows}")
    replacements = sorted(_replacements(buffer, rows), key=lambda replacement: replacement.start)

    def write(file: BinaryIO) -> None:
        at = 0
        for start, end, pieces in replacements:
            _copy(buffer.buffer, at, start, file)
            for piece in pieces:
                file.write(piece)
            at = end
        _copy(buffer.buffer, at, len(buffer.buffer), file)

    replace_file(
        path, write, check=lambda written: _compare(buffer, rows, written), overwrite=overwrite
    )


def _copy(data: memoryview, start: int, end: int, file: BinaryIO) -> None:
    for at in range(start, end, _PIECE):
        piece = data[at : min(at + _PIECE, end)]
        file.write(piece)
        release(piece, at)


def _replacements(buffer: ReplayBuffer, rows: int) -> Iterator[Replacement]:
    """Yield what is put in the place of what. Raises before anything is written."""
    yield _number(buffer, buffer.size - rows)
    start, end = buffer.places.get("full", (0, 0))
    if bytes(buffer.buffer[start:end]) not in (_TRUE, _FALSE):
        raise _unsuited("`full` is not kept as True or False")
    yield Replacement(start, end, iter((_FALSE,)))
    for start, end in buffer.frames:
        # A frame announces its length, which may change; a pickle is as good without frames.
        yield Replacement(start, end, iter(()))
    _check_infos(buffer)
    replaced = _episodes(buffer, rows)
    places: set[int] = set()
    for name, array in (*buffer.arrays.items(), *_current_start(buffer)):
        start = buffer.position(array)
        if not array.flags.c_contiguous or not 0 <= start <= len(buffer.buffer) - array.nbytes:
            raise _unsuited(f"{name} are not kept as plain bytes, row by row")
        if start in places or not array.nbytes:
            continue
        places.add(start)
        new = replaced.get(name)
        pieces = _moved(buffer, name, rows) if new is None else iter((new.tobytes(),))
        yield Replacement(start, start + array.nbytes, pieces)


def _number(buffer: ReplayBuffer, pos: int) -> Replacement:
    """Return what replaces `pos`, a whole number in its shortest form (pickletools: BININT*)."""
    start, end = buffer.places.get("pos", (0, 0))
    if (bytes(buffer.buffer[start : start + 1]), end - start) not in _WHOLE_NUMBERS:
        raise _unsuited("`pos` is not kept as a plain whole number")
    if pos < 1 << 8:
        new = b"K" + pos.to_bytes(1, "little")
    elif pos < 1 << 16:
        new = b"M" + pos.to_bytes(2, "little")
    else:
        new = b"J" + pos.to_bytes(4, "little")
    return Replacement(start, end, iter((new,)))


def _moved(buffer: ReplayBuffer, name: str, rows: int) -> Iterator[bytes | memoryview]:
    """Yield the bytes of an array whose rows moved to the front."""
    array, stop = buffer.arrays[name], buffer.size
    if buffer.optimize_memory_usage and name in buffer.observation_names:
        stop += 1  # the row behind the newest one holds its next observation
    left = array.nbytes
    for piece in buffer.rows(name, rows, stop):
        left -= piece.nbytes
        yield piece.tobytes()
    while left:
        zeros = min(left, _PIECE)
        left -= zeros
        yield bytes(zeros)


def _unsuited(what: str) -> UnsupportedCheckpoint:
    return UnsupportedCheckpoint(f"it cannot be cleaned here: {what}; load it, save it with SB3")


# -- HER's episodes ----------------------------------------------------------------------------


def _check_infos(buffer: ReplayBuffer) -> None:
    infos = buffer.attributes.get("infos")
    if isinstance(infos, PickledArray) and any(infos.objects or ()):
        raise UnsupportedCheckpoint(
            "it cannot be cleaned here: it keeps the infos of its steps as Python objects "
            "(copy_info_dict=True)"
        )


def _current_start(buffer: ReplayBuffer) -> Iterator[tuple[str, NDArray[Any]]]:
    if buffer.class_name == HER:
        current = buffer.attributes.get("_current_ep_start")
        if not isinstance(current, PickledArray) or current.view().shape != (buffer.n_envs,):
            raise CorruptCheckpoint("its _current_ep_start is not one number per environment")
        yield "_current_ep_start", current.view()


def _episodes(buffer: ReplayBuffer, rows: int) -> Mapping[str, NDArray[Any]]:
    """Return HER's arrays about episodes as they are once `rows` are gone; empty without HER.

    `ep_start` and `ep_length`, shape `(capacity, n_envs)`: where each row's episode starts and how
    long it is, 0 where it is not complete. Source: stable_baselines3/her/her_replay_buffer.py.
    """
    if buffer.class_name != HER:
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
    ((name, current),) = _current_start(buffer)
    taken = (buffer.pos - current) % buffer.capacity
    new[name] = np.maximum(buffer.size - rows - taken, 0).astype(current.dtype)
    return new


# -- reading back ------------------------------------------------------------------------------


def _compare(old: ReplayBuffer, rows: int, path: Path) -> None:
    """Raise `SacdoctorError` unless the file at `path` is `old` without its oldest rows."""
    new = read_replay_buffer(path)
    same = (
        (new.class_name, new.capacity, new.n_envs) == (old.class_name, old.capacity, old.n_envs)
        and (new.size, new.full) == (old.size - rows, False)
        and list(new.attributes) == list(old.attributes)
        and all(
            name in ("ep_start", "ep_length") or _same_rows(old, new, name, rows)
            for name in old.arrays
        )
    )
    if not same:
        raise SacdoctorError("what was written does not read back as it should")


def _same_rows(old: ReplayBuffer, new: ReplayBuffer, name: str, rows: int) -> bool:
    array = new.arrays[name]
    step = max(1, _PIECE // max(1, array.nbytes // len(array)))
    for at in range(0, new.size, step):
        times = np.arange(at, min(at + step, new.size))
        if old.take(name, times + rows).tobytes() != new.take(name, times).tobytes():
            return False
    return True
