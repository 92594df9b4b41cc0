"""Buffers in a pickle: SB3's, as `model.save_replay_buffer()` writes them, and people's own.

Nothing in it is imported, called or executed: classes are names, objects what they hold, and arrays
views of the file. What loading it would run is not asked here (`sacdoctor.trust`).
"""

from __future__ import annotations

from sacdoctor.errors import OverBudget, UnsupportedCheckpoint
from sacdoctor.pickles import (
    ENCODED_BYTES,
    NUMPY_ARRAYS,
    OpaqueNames,
    WalkBudget,
    is_pickle,
    read_placed_pickle,
)
from sacdoctor.replay.buffer import ReplayBuffer
from sacdoctor.replay.filling import COUNTERS
from sacdoctor.replay.formats.interface import Kind
from sacdoctor.replay.own_layout import names_in, own_buffer
from sacdoctor.replay.sb3_layout import sb3_buffer


def _opens(data: memoryview) -> bool:
    return is_pickle(bytes(data[:2]))


def _read(data: memoryview) -> ReplayBuffer:
    names = OpaqueNames({**NUMPY_ARRAYS, **ENCODED_BYTES})
    try:
        made, places = read_placed_pickle(data, names, COUNTERS, WalkBudget.of_buffer(len(data)))
    except OverBudget as error:
        raise OverBudget(
            f"{error.reason}; if its transitions are single objects, save them as arrays with "
            "numpy.savez: those may be of any size"
        ) from None
    buffer = sb3_buffer(data, made, places) or own_buffer(data, made, places)
    if buffer is None:
        there = names_in(made)
        raise UnsupportedCheckpoint(
            "it is a pickle, but no replay buffer is found in it"
            + (f": it holds {there}" if there else "")
        )
    return buffer


KIND = Kind(
    name="a pickle, as model.save_replay_buffer() writes one",
    endings=(".pkl", ".pickle"),
    opens=_opens,
    read=_read,
)
