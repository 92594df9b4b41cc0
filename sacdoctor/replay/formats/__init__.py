"""The kinds of files for replay buffers: a module here with a `KIND` is all that one takes."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from sacdoctor.checkpoint import ForeignCheckpoint, foreign_bytes
from sacdoctor.errors import NotACheckpoint, SacdoctorError
from sacdoctor.files import map_file
from sacdoctor.replay.buffer import ReplayBuffer
from sacdoctor.replay.formats.interface import Kind

__all__ = ["ENDINGS", "KINDS", "Kind", "read_replay_buffer"]


def read_replay_buffer(path: str | Path) -> ReplayBuffer:
    """Return the replay buffer in a file. Nothing in it is executed.

    Raises `CorruptCheckpoint` where a claim and the bytes disagree, `UnsupportedCheckpoint` for
    files and layouts in which no buffer is found, `NotACheckpoint` for other kinds of files.
    """
    try:
        data = map_file(Path(path))
        kind = next((kind for kind in KINDS if kind.opens(data)), None)
        if kind is None:
            foreign = foreign_bytes(data)
            if foreign is not None:
                raise ForeignCheckpoint(foreign)
            raise NotACheckpoint(f"it is neither {' nor '.join(kind.name for kind in KINDS)}")
        return kind.read(data)
    except SacdoctorError as error:
        raise error.at(path) from None


def _discovered() -> Iterator[Kind]:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        kind = getattr(import_module(module.name), "KIND", None)
        if kind is not None:
            yield kind


KINDS: tuple[Kind, ...] = tuple(_discovered())
"""All kinds, in the order of their modules' names."""
ENDINGS = tuple(dict.fromkeys(ending for kind in KINDS for ending in kind.endings))
"""How files of any kind are named."""
