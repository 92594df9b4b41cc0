"""Which replay buffer belongs to which checkpoint, by the names that SB3 and rl-zoo give them."""

from __future__ import annotations

import re
from pathlib import Path

from sacdoctor.errors import NotACheckpoint, unopened
from sacdoctor.files import files_below, is_file
from sacdoctor.replay.formats import ENDINGS

_STEPS = re.compile(r"(.*)_replay_buffer_(\d+)_steps\.pkl")
"""`CheckpointCallback(name_prefix="rl_model")`: rl_model_replay_buffer_10000_steps.pkl beside
rl_model_10000_steps.zip."""
_CHECKPOINT_STEPS = re.compile(r"(.*)_(\d+)_steps\.zip")
_LAST = "replay_buffer.pkl"
"""rl-zoo's, at the end of training, beside a checkpoint named after the environment."""
_BEST = "best_model.zip"
"""`EvalCallback`'s, of another step than the buffer."""


def checkpoint_of(buffer: Path) -> Path | None:
    """Return the checkpoint saved together with a replay buffer, None where there is none."""
    steps = _STEPS.fullmatch(buffer.name)
    if steps:
        candidates = [f"{steps[1]}_{steps[2]}_steps.zip"]
    elif buffer.name == _LAST:
        others = [path.name for path in buffer.parent.glob("*.zip") if path.name != _BEST]
        last = [name for name in others if not _CHECKPOINT_STEPS.fullmatch(name)]
        candidates = last if len(last) == 1 else []
    else:
        stem = buffer.stem
        candidates = [f"{stem}.zip", f"{stem.removesuffix('_replay_buffer')}.zip"]
    paths = (buffer.with_name(name) for name in candidates)
    return next((path for path in paths if is_file(path)), None)


def buffer_of(checkpoint: Path) -> Path | None:
    """Return the replay buffer saved together with a checkpoint, None where there is none."""
    steps = _CHECKPOINT_STEPS.fullmatch(checkpoint.name)
    if steps:
        candidates = [f"{steps[1]}_replay_buffer_{steps[2]}_steps.pkl"]
    else:
        candidates = [f"{checkpoint.stem}_replay_buffer.pkl", f"{checkpoint.stem}.pkl", _LAST]
    paths = (checkpoint.with_name(name) for name in candidates)
    return next((p for p in paths if is_file(p) and checkpoint_of(p) == checkpoint), None)


def buffers_below(run: Path) -> list[Path]:
    """Return the replay buffers below a run that one of its checkpoints may be read with.

    Of those that a `CheckpointCallback` numbered it is the last.
    """
    last: dict[tuple[Path, str], Path] = {}
    for checkpoint in files_below(run, ".zip"):
        found = buffer_of(checkpoint)
        if found is not None:
            _keep_newer(last, found)
    for found in files_below(run, ENDINGS):
        if "replay_buffer" in found.name:
            _keep_newer(last, found)
    return sorted(last.values())


def numbered(checkpoint: Path) -> tuple[str, int] | None:
    """Return the prefix and the timesteps in a name that a `CheckpointCallback` gave, else None."""
    steps = _CHECKPOINT_STEPS.fullmatch(checkpoint.name)
    return (steps[1], int(steps[2])) if steps else None


def _keep_newer(last: dict[tuple[Path, str], Path], buffer: Path) -> None:
    steps = _STEPS.fullmatch(buffer.name)
    kind = (buffer.parent, steps[1] if steps else f"/{buffer.name}")
    held = last.get(kind)
    if held is None or (steps and int(steps[2]) > _age(held)[1]):
        last[kind] = buffer


def newest_in(run: Path) -> Path:
    """Return a run folder's newest replay buffer, or without one its newest checkpoint.

    rl-zoo's `replay_buffer.pkl` comes last in a run; else the steps in the names count, then the
    files' dates. Without either a file that is named like another kind of buffer will do. Raises
    `NotACheckpoint` where the folder holds none of them.
    """
    try:
        files = sorted(path for path in run.iterdir() if path.is_file())
    except OSError as error:
        raise unopened(error).at(run) from None
    may_be = [path for path in files if path.suffix in ENDINGS]
    buffers = [path for path in may_be if "replay_buffer" in path.name]
    checkpoints = [path for path in files if path.suffix == ".zip" and path.name != _BEST]
    others = [path for path in may_be if "buffer" in path.name or "replay" in path.name]
    for found in (buffers, checkpoints, others):
        if found:
            return max(found, key=_age)
    raise NotACheckpoint("the folder holds neither a replay buffer nor a checkpoint", run)


def _age(path: Path) -> tuple[bool, int, float]:
    steps = _STEPS.fullmatch(path.name) or _CHECKPOINT_STEPS.fullmatch(path.name)
    return path.name == _LAST, int(steps[2]) if steps else -1, path.stat().st_mtime
