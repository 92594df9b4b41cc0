"""Replay buffers that are not SB3's: arrays, and classes of people's own, with a forced head.

`import tests.own_buffers` is all that loading one of these pickles takes: no torch, no SB3.
"""

from __future__ import annotations

from collections import deque, namedtuple
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]

STEPS, FORCED = 600, 150
"""Steps, and those at their start whose action the environment did not carry out."""
USUAL = ("states", "actions", "rewards", "next_states", "dones")


def transitions(steps: int = STEPS, forced: int = FORCED, seed: int = 3) -> Arrays:
    """Return what an agent stores that tracks a drifting target: the action that it chose.

    For the first `forced` steps the environment carries out 0 instead. The reward is
    1 − |place − target|, and the next observation shows the place.
    """
    random = np.random.default_rng(seed)
    state = np.zeros((steps + 1, 3), np.float32)
    action = random.uniform(-1, 1, (steps, 1)).astype(np.float32)
    executed = np.where(np.arange(steps)[:, None] < forced, np.float32(0), action)
    reward = np.zeros(steps, np.float32)
    for step in range(steps):
        target, speed, _ = state[step]
        reward[step] = 1 - abs(executed[step, 0] - target)
        speed = 0.9 * speed + 0.1 * random.normal()
        state[step + 1] = np.clip(target + 0.2 * speed, -1, 1), speed, executed[step, 0]
    done = np.zeros(steps, np.bool_)
    done[99::100] = True
    following = state[1:].copy()
    return dict(zip(USUAL, (state[:-1], action, reward, following, done), strict=True))


class Ring:
    """Spinning Up's and TD3's: a position, how many rows are filled, and the room."""

    def __init__(self, room: int) -> None:
        self.state = np.zeros((room, 3), np.float32)
        self.action = np.zeros((room, 1), np.float32)
        self.reward = np.zeros((room, 1), np.float32)
        self.next_state = np.zeros((room, 3), np.float32)
        self.not_done = np.zeros((room, 1), np.float32)
        self.log_prob = np.zeros(room, np.float64)
        self.max_size, self.ptr, self.size = room, 0, 0
        self.scale = np.array([1.0, 2.0, 4.0])

    def add(self, state: Any, action: Any, reward: Any, next_state: Any, done: Any) -> None:
        row = self.state, self.action, self.reward, self.next_state, self.not_done, self.log_prob
        values = state, action, reward, next_state, 1.0 - done, reward / 2
        for array, value in zip(row, values, strict=True):
            array[self.ptr] = value
        self.ptr = (self.ptr + 1) % self.max_size
        self.size = min(self.size + 1, self.max_size)

    def sample(self, count: int) -> tuple[Array, ...]:
        rows = np.random.default_rng(0).integers(0, self.size, count)
        return self.state[rows], self.action[rows], self.reward[rows], self.next_state[rows]


class Counted:
    """As in many tutorials: one counter of all that was ever stored."""

    def __init__(self, room: int) -> None:
        self.mem_size, self.mem_cntr = room, 0
        self.state_memory = np.zeros((room, 3), np.float32)
        self.new_state_memory = np.zeros((room, 3), np.float32)
        self.action_memory = np.zeros((room, 1), np.float32)
        self.reward_memory = np.zeros(room, np.float32)
        self.terminal_memory = np.zeros(room, np.bool_)

    def add(self, state: Any, action: Any, reward: Any, next_state: Any, done: Any) -> None:
        at = self.mem_cntr % self.mem_size
        self.state_memory[at], self.new_state_memory[at] = state, next_state
        self.action_memory[at], self.reward_memory[at], self.terminal_memory[at] = (
            action,
            reward,
            done,
        )
        self.mem_cntr += 1

    def sample(self, count: int) -> tuple[Array, ...]:
        rows = np.random.default_rng(0).integers(0, min(self.mem_cntr, self.mem_size), count)
        memory = self.state_memory, self.action_memory, self.reward_memory, self.new_state_memory
        return tuple(array[rows] for array in memory)


class Slotted:
    """Attributes in slots, and no more rows than are filled."""

    __slots__ = ("acts", "done", "obs", "obs_next", "rews")

    def __init__(self, _room: int) -> None:
        self.obs, self.obs_next = np.zeros((0, 3)), np.zeros((0, 3))
        self.acts, self.rews, self.done = np.zeros((0, 1)), np.zeros(0), np.zeros(0, np.bool_)

    def add(self, state: Any, action: Any, reward: Any, next_state: Any, done: Any) -> None:
        self.obs, self.obs_next = (
            np.vstack((self.obs, state)),
            np.vstack((self.obs_next, next_state)),
        )
        self.acts = np.vstack((self.acts, action))
        self.rews, self.done = np.append(self.rews, reward), np.append(self.done, done)

    def sample(self, count: int) -> tuple[Array, ...]:
        rows = np.random.default_rng(0).integers(0, len(self.rews), count)
        return self.obs[rows], self.acts[rows], self.rews[rows], self.obs_next[rows]


class Listed:
    """A list per field."""

    def __init__(self, _room: int) -> None:
        self.states: list[Array] = []
        self.actions: list[Array] = []
        self.rewards: list[float] = []
        self.next_states: list[Array] = []
        self.terminals: list[bool] = []

    def add(self, state: Any, action: Any, reward: Any, next_state: Any, done: Any) -> None:
        self.states.append(state)
        self.actions.append(action)
        self.rewards.append(float(reward))
        self.next_states.append(next_state)
        self.terminals.append(bool(done))

    def sample(self, count: int) -> tuple[Array, ...]:
        rows = np.random.default_rng(0).integers(0, len(self.states), count)
        columns = self.states, self.actions, self.rewards, self.next_states
        return tuple(np.array([column[row] for row in rows]) for column in columns)  # type: ignore[index]


class Deque:
    """Tuples in a deque of so much room."""

    def __init__(self, room: int) -> None:
        self.memory: deque[Any] = deque(maxlen=room)

    def add(self, *transition: Any) -> None:
        self.memory.append(transition)

    def sample(self, count: int) -> tuple[Array, ...]:
        rows = np.random.default_rng(0).integers(0, len(self.memory), count)
        return tuple(map(np.array, zip(*(self.memory[row] for row in rows), strict=True)))[:4]


Experience = namedtuple("Experience", ("state", "action", "next_state", "reward", "done"))


class Named(Deque):
    """Named tuples in PyTorch's order: the next state before the reward."""

    def add(self, *transition: Any) -> None:
        state, action, reward, next_state, done = transition
        self.memory.append(Experience(state, action, next_state, float(reward), bool(done)))

    def sample(self, count: int) -> tuple[Array, ...]:
        state, action, next_state, reward = super().sample(count)
        return state, action, reward, next_state


class Typed(NamedTuple):
    state: Array
    action: Array
    reward: float
    next_state: Array
    done: bool


class TypedDeque(Deque):
    def add(self, *transition: Any) -> None:
        self.memory.append(Typed(*transition))


@dataclass
class Step:
    obs: Array
    act: Array
    rew: float
    next_obs: Array
    done: bool


class Objects(Deque):
    """Objects of a dataclass."""

    def add(self, *transition: Any) -> None:
        self.memory.append(Step(*transition))

    def sample(self, count: int) -> tuple[Array, ...]:
        rows = np.random.default_rng(0).integers(0, len(self.memory), count)
        steps = [self.memory[row] for row in rows]
        return tuple(
            np.array([getattr(step, name) for step in steps])
            for name in ("obs", "act", "rew", "next_obs")
        )


class Dicts(Deque):
    """Dicts in a deque."""

    def add(self, *transition: Any) -> None:
        self.memory.append(dict(zip(USUAL, transition, strict=True)))

    def sample(self, count: int) -> tuple[Array, ...]:
        rows = np.random.default_rng(0).integers(0, len(self.memory), count)
        return tuple(np.array([self.memory[row][name] for row in rows]) for name in USUAL[:4])


KINDS: tuple[type[Any], ...] = (
    *(Ring, Counted, Slotted),
    *(Listed, Deque, Named, TypedDeque, Objects, Dicts),
)
RINGS = (Ring, Counted)


def filled(kind: type[Any], arrays: Arrays, room: int) -> Any:
    """Return a buffer to which the class itself added all transitions."""
    buffer = kind(room)
    for step in range(len(arrays["rewards"])):
        buffer.add(*(arrays[name][step] for name in USUAL))
    return buffer
