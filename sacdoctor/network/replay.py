"""A live replay buffer from its file, without running anything in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.buffers import ReplayBuffer

from sacdoctor.errors import SacdoctorError, Unloadable
from sacdoctor.files import map_file, refuse_changed
from sacdoctor.network.classes import Classes, name_of
from sacdoctor.network.values import live
from sacdoctor.pickles import WalkBudget, WithArrays, attributes, read_pickle
from sacdoctor.replay import read_replay_buffer


def load_replay_buffer(
    path: str | Path, *, device: torch.device | str = "cpu", trust: Iterable[str] = ()
) -> ReplayBuffer:
    """Return the replay buffer that `model.save_replay_buffer()` wrote, as SB3's object.

    It holds what SB3's own `load_replay_buffer` would have, but nothing in the file is executed.
    Hand it to a model as `model.replay_buffer`. `device` and `trust` as `sacdoctor.load` takes
    them.

    Raises `CheckpointError` where the file cannot be read, and `Unloadable` for a buffer of another
    class than SB3's or one of a trusted module.
    """
    try:
        if not read_replay_buffer(path).is_sb3s:
            raise Unloadable("it is no ReplayBuffer of SB3's")
        return _buffer(Path(path), torch.device(device), Classes(trust))
    except SacdoctorError as error:
        raise error.at(path) from None


def _buffer(path: Path, device: torch.device, classes: Classes) -> ReplayBuffer:
    data = map_file(path)
    made = read_pickle(data, WithArrays(), WalkBudget.of_buffer(len(data)))
    state = {k: device if k == "device" else live(v) for k, v in attributes(made).items()}
    buffer: Any = object.__new__(classes.find(name_of(made), ReplayBuffer))
    # As pickle does, whose object HerReplayBuffer tells that its environment is not there.
    put = getattr(buffer, "__setstate__", buffer.__dict__.update)
    put(state)
    refuse_changed(data)
    result: ReplayBuffer = buffer
    return result
