"""Where the observations come from that an agent is set to work on.

A replay buffer, an array in a file, an environment in which the policy acts, or the last
observation that a checkpoint keeps. Each is read in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from msgspec import Struct
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv

from sacdoctor.errors import SacdoctorError, UnsupportedCheckpoint
from sacdoctor.replay import ReplayBuffer, read_observations, read_replay_buffer

BATCH = 512
"""Observations that are read, and worked on, at once."""

Array = NDArray[Any]
Observed = Array | dict[str, Array]
"""Observations as an environment gives them, a row for each; of a dict each entry's."""
Scaled = Callable[[Observed], Observed]
"""What `VecNormalize` makes of observations."""


class Seen(NamedTuple):
    """A batch of observations, and what is known beside them, a row for each.

    `rewards`, `following` and `ends` are there together: the next observation, and whether the
    episode really ended. `starts` are the first observations of episodes, `masks` allowed choices.
    """

    observations: Observed
    actions: Array | None = None
    rewards: Array | None = None
    following: Observed | None = None
    ends: Array | None = None
    starts: Array | None = None
    masks: Array | None = None


class Source(Struct, frozen=True):
    """Observations to come: `count` of them in `batches`.

    `kind` and `name` say where from. `is_normalised`: they are what the network saw, behind any
    `VecNormalize`. `are_scaled`: actions are as SB3's critics take them, −1 to 1. `largest_reward`
    is the largest reward without sign, if rewards are known before the first batch, and `is_whole`
    says that those are all of the training's.
    """

    kind: str
    name: str
    count: int
    batches: Iterator[Seen]
    is_normalised: bool = False
    are_scaled: bool = True
    largest_reward: float | None = None
    is_whole: bool = False


# -- a replay buffer, or arrays in a file ------------------------------------------------------


def of_file(path: Path, model: BaseAlgorithm, count: int, *, in_order: bool) -> Source:
    """Return up to `count` observations of a replay buffer, or of a `.npy` or `.npz` with them.

    They are spread evenly over the file; `in_order` takes them as they follow one another.

    Raises `SacdoctorError` where the file cannot be read, or holds other observations than the
    model takes.
    """
    try:
        try:
            buffer = read_replay_buffer(path)
        except SacdoctorError:
            if path.suffix not in (".npy", ".npz"):
                raise
            return _of_arrays(path, model, count, in_order)
        return _of_buffer(path, buffer, model, count, in_order)
    except SacdoctorError as error:
        raise error.at(path) from None


def _of_arrays(path: Path, model: BaseAlgorithm, count: int, in_order: bool) -> Source:
    arrays = read_observations(path, lambda rows: _chosen(range(rows), count, in_order))
    fitted = {key: _fitted(array, key, model) for key, array in arrays.items()}
    _refuse_others(fitted, model)
    size = min(map(len, fitted.values()))

    def batches() -> Iterator[Seen]:
        for some in _pieces(np.arange(size)):
            first = (some == 0).astype(np.float32)
            yield Seen(_parts({key: array[some] for key, array in fitted.items()}), starts=first)

    return Source("file", str(path), size, batches())


def _of_buffer(
    path: Path, buffer: ReplayBuffer, model: BaseAlgorithm, count: int, in_order: bool
) -> Source:
    environments = 1 if in_order else buffer.n_envs
    chosen = _chosen(buffer.whole, max(1, count // environments), in_order)
    examples = {
        name.removeprefix("observations").removeprefix("."): buffer.arrays[name][:1, 0]
        for name in buffer.observation_names
    }
    _refuse_others({key: _fitted(one, key, model) for key, one in examples.items()}, model)
    largest = _largest_reward(buffer)

    def read(name: str, times: NDArray[np.int64]) -> Array:
        rows = buffer.take(name, times)[:, :environments]
        return rows.reshape(-1, *rows.shape[2:])

    def observed(times: NDArray[np.int64], which: str) -> Observed:
        return _parts(
            {
                key: _fitted(read(f"{which}.{key}" if key else which, times), key, model)
                for key in examples
            }
        )

    has_ends = "dones" in buffer.arrays

    def batches() -> Iterator[Seen]:
        for times in _pieces(chosen, environments):
            if buffer.optimize_memory_usage:
                following = observed(times + 1, "observations")
            else:
                following = observed(times, "next_observations")
            ends = read("dones", times).reshape(-1) != 0 if has_ends else None
            if ends is not None and "timeouts" in buffer.arrays:
                ends &= read("timeouts", times).reshape(-1) == 0
            starts = None
            if in_order:
                starts = np.array([_starts(buffer, int(time)) for time in times], np.float32)
                starts[0] = max(starts[0], float(times[0] == chosen[0]))
            yield Seen(
                observed(times, "observations"),
                read("actions", times),
                None if ends is None else read("rewards", times).reshape(-1),
                None if ends is None else following,
                ends,
                starts,
            )
        buffer.origin.refuse_changed()

    return Source(
        "buffer",
        str(path),
        len(chosen) * environments,
        batches(),
        are_scaled=buffer.is_sb3s,
        largest_reward=largest,
        is_whole=buffer.transitions >= model.num_timesteps,
    )


def _starts(buffer: ReplayBuffer, time: int) -> bool:
    if time == 0 or "dones" not in buffer.arrays:
        return time == 0
    return bool(buffer.take("dones", np.array([time - 1]))[0, 0])


def _largest_reward(buffer: ReplayBuffer) -> float | None:
    largest = 0.0
    for piece in buffer.rows("rewards", 0, buffer.size):
        sizes = np.abs(piece.astype(np.float64))
        largest = max(largest, float(np.max(sizes, initial=0.0, where=np.isfinite(sizes))))
    return largest


def _chosen(times: range, count: int, in_order: bool) -> NDArray[np.int64]:
    number = min(len(times), count)
    if in_order:
        return np.arange(times.start, times.start + number)
    return np.linspace(times.start, max(times.start, times.stop - 1), number).astype(np.int64)


def _pieces(times: NDArray[np.int64], each: int = 1) -> Iterator[NDArray[np.int64]]:
    step = max(1, BATCH // each)
    for start in range(0, len(times), step):
        yield times[start : start + step]


def _parts(found: dict[str, Array]) -> Observed:
    return found[""] if found.keys() == {""} else found


# -- what the model takes ----------------------------------------------------------------------


def _spaces(model: BaseAlgorithm) -> dict[str, spaces.Space[Any]]:
    space: Any = model.observation_space
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}


def _fitted(array: Array, key: str, model: BaseAlgorithm) -> Array:
    """Return rows in the shape that the model's space has, where they hold as many numbers."""
    space = _spaces(model).get(key)
    shape = None if space is None else space.shape
    if shape is None or array.shape[1:] == shape:
        return array
    row = int(np.prod(array.shape[1:], dtype=np.int64))
    return array.reshape(-1, *shape) if row == int(np.prod(shape, dtype=np.int64)) else array


def _refuse_others(found: Mapping[str, Array], model: BaseAlgorithm) -> None:
    """Raise `UnsupportedCheckpoint` where a model takes other observations than were found."""
    wanted = {key: space.shape for key, space in _spaces(model).items()}
    shapes = {key: array.shape[1:] for key, array in found.items()}
    if wanted.keys() == shapes.keys() and all(
        shapes[key] == shape or _is_turned(shapes[key], shape) for key, shape in wanted.items()
    ):
        return
    raise UnsupportedCheckpoint(
        f"its observations have the shape {_in_words(shapes)}, and the model takes "
        f"{_in_words(wanted)}"
    )


def _is_turned(found: tuple[int, ...], wanted: tuple[int, ...] | None) -> bool:
    """Return whether images have their channels at the other end: SB3 turns those."""
    return wanted is not None and len(wanted) == 3 and found == (*wanted[1:], wanted[0])


def _in_words(shapes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {shape}".strip() for key, shape in shapes.items()) or "of nothing"


# -- an environment ----------------------------------------------------------------------------


def of_environment(
    name: str, model: BaseAlgorithm, count: int, seed: int, scaled: Scaled
) -> Source:
    """Return `count` steps of a gymnasium environment in which the policy acts as in training.

    `scaled` makes of an observation what the policy takes. The environment's code runs.

    Raises `SacdoctorError` where there is none of this name, or the model is not for it.
    """
    try:
        env = model._wrap_env(gymnasium.make(name), monitor_wrapper=False)
    except (gymnasium.error.Error, ImportError) as error:
        raise SacdoctorError(f"there is no environment {name!r}: {_line(error)}") from None
    try:
        check_for_correct_spaces(env, model.observation_space, model.action_space)
    except ValueError as error:
        env.close()
        raise SacdoctorError(f"{name} is not what the model was made for: {_line(error)}") from None
    batches = _steps(env, model, count, seed, scaled)
    return Source("environment", name, count, batches, are_scaled=False)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _steps(
    env: VecEnv, model: BaseAlgorithm, count: int, seed: int, scaled: Scaled
) -> Iterator[Seen]:
    model.set_random_seed(seed)
    env.seed(seed)
    observation: Any = env.reset()
    state, start = None, np.ones(1, np.bool_)
    has_masks = env.has_attr("action_masks") and type(model).__name__ == "MaskablePPO"
    rows: list[Seen] = []
    try:
        for step in range(count):
            extra: dict[str, Any] = {}
            if has_masks:
                extra["action_masks"] = np.stack(env.env_method("action_masks"))
            action, state = model.predict(
                scaled(observation), state, start, deterministic=False, **extra
            )
            before, started = _copied(observation), start
            observation, reward, done, infos = env.step(action)
            following, ended = observation, done
            if done[0]:
                last = infos[0]["terminal_observation"]
                following = (
                    {key: np.asarray(value)[None] for key, value in last.items()}
                    if isinstance(last, dict)
                    else np.asarray(last)[None]
                )
                ended = np.array([not infos[0].get("TimeLimit.truncated", False)])
            rows.append(
                Seen(
                    before,
                    action,
                    np.array(reward),
                    _copied(following),
                    ended,
                    started.astype(np.float32),
                    extra.get("action_masks"),
                )
            )
            start = np.array(done)
            if len(rows) == BATCH or step == count - 1:
                yield _stacked(rows)
                rows = []
    finally:
        env.close()


def _copied(observation: Observed) -> Observed:
    if isinstance(observation, dict):
        return {key: np.array(value) for key, value in observation.items()}
    return np.array(observation)


def _stacked(rows: list[Seen]) -> Seen:
    """Return single steps as one batch."""

    def together(values: list[Any]) -> Any:
        if values[0] is None:
            return None
        if isinstance(values[0], dict):
            return {key: np.concatenate([value[key] for value in values]) for key in values[0]}
        return np.concatenate(values)

    return Seen(*(together([row[field] for row in rows]) for field in range(len(Seen._fields))))


# -- what the checkpoint itself keeps ----------------------------------------------------------


def of_checkpoint(found: dict[str, Array], model: BaseAlgorithm) -> Source:
    """Return the last observations of the training, one of each environment."""
    fitted = {key: _fitted(array, key, model) for key, array in found.items()}
    if not fitted:
        raise SacdoctorError(
            "it keeps no observation: say with --buffer, --observations or --env what to look at"
        )
    _refuse_others(fitted, model)
    count = min(map(len, fitted.values()))
    starts = np.ones(count, np.float32)
    return Source(
        "checkpoint", "_last_obs", count, iter([Seen(_parts(fitted), starts=starts)]), True
    )
