"""Transitions of a replay buffer as tables of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sacdoctor.replay.buffer import ReplayBuffer

MAX_CHOICES = 64
"""Discrete actions that are told apart."""
MAX_PRODUCTS = 32
"""Products of actions with observations; where there are more, they are left out."""
LARGEST = 1e12
"""Numbers beyond it are left out, as those that are not finite: their squares would overflow."""

Floats = NDArray[np.float64]


class Transitions(Struct, frozen=True):
    """Transitions in order of time: their rows' age, observation, action terms and outcomes."""

    time: NDArray[np.int64]
    observed: Floats
    action: Floats
    outcome: Floats

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Transitions:
        return Transitions(
            self.time[which], self.observed[which], self.action[which], self.outcome[which]
        )

    def __len__(self) -> int:
        return len(self.time)


class TransitionReader:
    """Reads transitions of a buffer as one table of numbers, scaled by one and the same spread."""

    def __init__(self, buffer: ReplayBuffer) -> None:
        self._buffer = buffer
        sample = np.arange(0, buffer.size, max(1, buffer.size // 512))
        observed = self._observations(sample, "observations")
        self._spread = observed.reshape(-1, observed.shape[2]).std(axis=0)
        self._spread[~(self._spread > 0)] = np.inf
        names = ["the reward"]
        for name in buffer.observation_names:
            width = buffer.arrays[name][0, 0].size
            what = name.removeprefix("observations").removeprefix(".") or "the observation"
            names += [f"component {i} of {what}" for i in range(width)]
        self.names = names
        actions = buffer.arrays["actions"]
        self._choices = (
            _distinct(buffer.take("actions", sample))[:MAX_CHOICES]
            if actions.dtype.kind != "f"
            and actions.reshape(len(actions), -1).shape[1] == buffer.n_envs
            else None
        )
        width = actions.reshape(len(actions), buffer.n_envs, -1).shape[2]
        self.simple_terms = width if self._choices is None else len(self._choices) - 1

    def table(self, times: NDArray[np.int64]) -> Transitions:
        """Return the transitions of these rows, all environments, without what is not finite, or
        huge."""
        buffer = self._buffer
        shared = buffer.optimize_memory_usage
        times = times[(times >= buffer.whole.start) & (times < buffer.whole.stop)]
        observed = self._observations(times, "observations")
        following = (
            self._observations(times + 1, "observations")
            if shared
            else self._observations(times, "next_observations")
        )
        reward = self._read("rewards", times)[:, :, :1]
        action = self._terms(self._read("actions", times), observed)
        age = np.repeat(times, buffer.n_envs)
        change = following - observed
        columns = [array.reshape(len(age), -1) for array in (observed, action, reward, change)]
        usable = np.all([(np.abs(column) < LARGEST).all(axis=1) for column in columns], axis=0)
        if shared:  # the next row holds the next episode's first observation, not the last one
            for name in buffer.arrays.keys() & {"dones", "timeouts"}:
                usable &= self._read(name, times).reshape(-1) == 0
        age, (observed, action, reward, change) = age[usable], [c[usable] for c in columns]
        return Transitions(age, observed, action, np.concatenate((reward, change), axis=1))

    def _observations(self, times: NDArray[np.int64], which: str) -> Floats:
        parts = [
            self._read(which + name.removeprefix("observations"), times)
            for name in self._buffer.observation_names
        ]
        joined = np.concatenate(parts, axis=2)
        return joined / self._spread if hasattr(self, "_spread") else joined

    def _read(self, name: str, times: NDArray[np.int64]) -> Floats:
        taken = self._buffer.take(name, times)
        return taken.reshape(len(taken), self._buffer.n_envs, -1).astype(np.float64)

    def _terms(self, action: Floats, observed: Floats) -> Floats:
        """Return what an action may contribute: itself, its square, itself times observations.

        Discrete actions are one column per choice.
        """
        if self._choices is not None:
            action = (action == self._choices[1:]).astype(np.float64)
            terms = [action]
        else:
            terms = [action, action**2]
        products = action[..., :, None] * observed[..., None, :]
        if products[0, 0].size <= MAX_PRODUCTS:
            terms.append(products.reshape(*action.shape[:2], -1))
        return np.concatenate(terms, axis=2)


def _distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values that occur, in order. (np.unique imports numpy's masked arrays.)"""
    ordered = np.sort(values, axis=None)
    distinct: NDArray[Any] = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return distinct
