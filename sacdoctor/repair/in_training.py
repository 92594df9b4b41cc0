"""Dead elements of a model that is training, fitted to its own replay buffer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.replay import Origin, ReplayBuffer, constant_head

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from stable_baselines3.common.base_class import BaseAlgorithm

    from sacdoctor.repair.refit import Refitted

LEAST = 1000
"""Timesteps of the policy's own that a buffer has to hold before anything is fitted to it: what
stands before `learning_starts` was drawn by chance, what a forced warm-up left is nobody's."""
_ARRAYS = ("actions", "rewards", "dones", "timeouts")


def refit_in_training(
    model: BaseAlgorithm,
    dead: Mapping[str, NDArray[np.int64]],
    drawn: Mapping[str, NDArray[np.float64]],
    seed: int,
) -> Refitted:
    """Return values for dead elements of an off-policy model, from its own replay buffer.

    `dead` are elements by the name of their parameter in the policy, `drawn` values that would be
    drawn for them. The model is not touched, nor any random number generator.

    Raises `UnsupportedCheckpoint` where it has no replay buffer, or too little in it.
    """
    from sacdoctor.repair.refit import Asked, refit_model

    held: Any = model
    buffer = _in_memory(getattr(held, "replay_buffer", None))
    buffer = _own(buffer, held.num_timesteps - held.learning_starts)
    transitions = len(buffer.whole) * buffer.n_envs
    if transitions < LEAST:
        raise UnsupportedCheckpoint(
            f"its buffer holds {transitions:,} transitions of its policy, and a refit takes "
            f"{LEAST:,}"
        )
    return refit_model(_copied(held), buffer, Asked(dead, drawn=drawn, seed=seed), *_wrapper(held))


def _copied(model: Any) -> Any:
    """Return the model with a policy of its own, in memory that the processor reaches.

    SB3's distributions keep tensors of their last use, with gradients' history, which PyTorch
    refuses to copy; they are made anew when they are used.
    """
    from stable_baselines3.common.distributions import Distribution

    kept: dict[int, Any] = {}
    for module in model.policy.modules():
        for value in vars(module).values():
            if isinstance(value, Distribution):
                kept[id(value)] = copy.copy(value)
    one = copy.copy(model)
    one.policy = copy.deepcopy(model.policy, kept).to("cpu")
    one._create_aliases()
    return one


class _InMemory(Origin):
    """Arrays that stand in memory, of no file."""

    def __init__(self) -> None:
        self.data = memoryview(b"")

    def without_oldest(self, buffer: ReplayBuffer, rows: int) -> NoReturn:
        raise UnsupportedCheckpoint("it is of no file")


def _in_memory(held: Any) -> ReplayBuffer:
    """Return a live replay buffer of SB3's as one that is read from a file."""
    if held is None or not hasattr(held, "observations"):
        raise UnsupportedCheckpoint("it has no replay buffer")
    shares = bool(getattr(held, "optimize_memory_usage", False))
    arrays = {name: getattr(held, name) for name in _ARRAYS if hasattr(held, name)}
    for name in ("observations",) if shares else ("observations", "next_observations"):
        part = getattr(held, name)
        if isinstance(part, dict):
            arrays |= {f"{name}.{key}": array for key, array in part.items()}
        else:
            arrays[name] = part
    size = held.buffer_size if held.full else held.pos
    return ReplayBuffer(
        class_name=type(held).__name__,
        capacity=held.buffer_size,
        n_envs=held.n_envs,
        pos=held.pos,
        full=held.full,
        optimize_memory_usage=shares,
        # The newest has no next one; of the oldest the newest one's took the place.
        whole=range(int(shares and held.full), size - shares),
        arrays=arrays,
        origin=_InMemory(),
        is_sb3s=True,
    )


def _own(buffer: ReplayBuffer, timesteps: int) -> ReplayBuffer:
    """Return a view of what the policy did in its last `timesteps`, without a forced head."""
    head, _ = constant_head(buffer)
    start = max(
        buffer.whole.start, buffer.size - timesteps // buffer.n_envs, head.rows if head else 0
    )
    return replace(buffer, whole=range(start, buffer.whole.stop))


def _wrapper(
    model: Any,
) -> tuple[Callable[[str, NDArray[Any]], NDArray[Any]] | None, float]:
    """Return what `VecNormalize` makes of observations now, and by what it divides rewards."""
    wrapper = model.get_vec_normalize_env()
    if wrapper is None:
        return None, 1.0

    def observed(key: str, observations: NDArray[Any]) -> NDArray[Any]:
        if not wrapper.norm_obs or (key and key not in wrapper.norm_obs_keys):
            return observations
        moments = wrapper.obs_rms[key] if key else wrapper.obs_rms
        scaled = (observations - moments.mean) / np.sqrt(moments.var + wrapper.epsilon)
        clipped: NDArray[Any] = np.clip(scaled, -wrapper.clip_obs, wrapper.clip_obs)
        return clipped.astype(np.float32)

    deviation = np.sqrt(wrapper.ret_rms.var + wrapper.epsilon) if wrapper.norm_reward else 1.0
    return observed, float(deviation)
