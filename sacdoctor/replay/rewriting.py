"""A replay buffer written anew without its oldest rows, in a file of the same kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sacdoctor.errors import SacdoctorError
from sacdoctor.files import replace_file
from sacdoctor.replay.buffer import ReplayBuffer
from sacdoctor.replay.formats import read_replay_buffer

_PIECE = 8 * 1024**2


def write_without_oldest(
    buffer: ReplayBuffer, rows: int, path: Path, *, overwrite: bool = False
) -> None:
    """Write the buffer without its `rows` oldest rows to `path`, complete or not at all.

    The other rows move to the front, in order of time. Where a buffer has room for more rows than
    it holds, the freed ones are zero, as in a fresh buffer; otherwise its arrays become shorter.
    All else stays as it is. The new file is read back and compared before it takes its name.

    Raises `ValueError` unless some rows go and some stay, `UnsupportedCheckpoint` for a buffer that
    cannot be written this way, `SacdoctorError` where the file cannot be written.
    """
    if not 0 < rows < buffer.size:
        raise ValueError(f"rows must be 1 to {buffer.size - 1}, got {rows}")
    write = buffer.origin.without_oldest(buffer, rows)
    replace_file(
        path, write, check=lambda written: _compare(buffer, rows, written), overwrite=overwrite
    )


def _compare(old: ReplayBuffer, rows: int, path: Path) -> None:
    """Raise `SacdoctorError` unless the file at `path` is `old` without its oldest rows."""
    new = read_replay_buffer(path)
    same = (
        (new.class_name, new.n_envs, new.size) == (old.class_name, old.n_envs, old.size - rows)
        and new.arrays.keys() == old.arrays.keys()
        and new.origin.fixed == old.origin.fixed
        and all(
            _same_rows(old, new, name, rows)
            for name in old.arrays
            if name not in old.origin.recomputed
        )
    )
    old.origin.refuse_changed()
    if not same:
        raise SacdoctorError("what was written does not read back as it should")


def _same_rows(old: ReplayBuffer, new: ReplayBuffer, name: str, rows: int) -> bool:
    array = new.arrays[name]
    if array.dtype != old.arrays[name].dtype:
        return False
    step = max(1, _PIECE // max(1, array.nbytes // len(array)))
    for at in range(0, new.size, step):
        times = np.arange(at, min(at + step, new.size))
        if old.take(name, times + rows).tobytes() != new.take(name, times).tobytes():
            return False
    return True
