"""Replay buffers: reading, forced actions at their head, rewriting."""

from sacdoctor.replay.buffer import Origin, ReplayBuffer
from sacdoctor.replay.companions import (
    buffer_of,
    buffers_below,
    checkpoint_of,
    newest_in,
    numbered,
)
from sacdoctor.replay.forced_head import Doubt, ForcedHead, constant_head
from sacdoctor.replay.formats import read_replay_buffer
from sacdoctor.replay.formats.numpy_zip import read_arrays, read_observations
from sacdoctor.replay.ignored_actions import ignored_head
from sacdoctor.replay.outcome_model import learn, nearest
from sacdoctor.replay.rewriting import write_without_oldest
from sacdoctor.replay.transitions import TransitionReader, Transitions

__all__ = [
    "Doubt",
    "ForcedHead",
    "Origin",
    "ReplayBuffer",
    "TransitionReader",
    "Transitions",
    "buffer_of",
    "buffers_below",
    "checkpoint_of",
    "constant_head",
    "ignored_head",
    "learn",
    "nearest",
    "newest_in",
    "numbered",
    "read_arrays",
    "read_observations",
    "read_replay_buffer",
    "write_without_oldest",
]
