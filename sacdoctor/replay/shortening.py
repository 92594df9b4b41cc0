"""Arrays without the rows of the oldest transitions, as pieces of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from numpy.typing import NDArray

from sacdoctor.replay.buffer import ReplayBuffer

PIECE = 8 * 1024**2
"""Bytes that are copied in one go."""


def shortened(
    buffer: ReplayBuffer, array: NDArray[Any], rows: int, behind: int = 0
) -> list[NDArray[Any]]:
    """Return what stays of an array with a row per step, in order of time, as views.

    `behind` rows follow the newest one and stay, too: its next observation.
    """
    if not buffer.full or not buffer.pos:
        return [array[rows : buffer.size + behind]]
    start = buffer.row_of(rows)
    if start < buffer.pos:
        return [array[start : buffer.pos]]
    return [array[start : buffer.capacity], array[: buffer.pos]]


def pieces_of(buffer: ReplayBuffer, views: list[NDArray[Any]], free: int = 0) -> Iterator[bytes]:
    """Yield the bytes of the views, one after the other, and of `free` rows of zeros behind."""
    row = views[0].dtype.itemsize * prod(views[0].shape[1:])
    step = max(1, PIECE // max(1, row))
    for view in views:
        for at in range(0, len(view), step):
            yield buffer.origin.read(view[at : at + step]).tobytes()
    left = free * row
    while left:
        yield bytes(min(left, PIECE))
        left -= min(left, PIECE)
