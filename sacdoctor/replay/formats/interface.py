"""What a kind of file for replay buffers is: a value that tells its files and reads them."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from sacdoctor.replay.buffer import ReplayBuffer


class Kind(Struct, frozen=True):
    """A kind of file. A module of this package that has one, as `KIND`, adds it.

    `name` says what such a file is, with its article; `endings` are those of its names, in lower
    case. `opens` tells one by its bytes alone, and never raises; `read` returns the buffer in it,
    and raises `CheckpointError` where there is none. No two kinds open the same bytes.
    """

    name: str
    endings: tuple[str, ...]
    opens: Callable[[memoryview], bool]
    read: Callable[[memoryview], ReplayBuffer]
