"""Everything about the checkpoints of one run together that rules look at.

A named tuple: every scan imports it, and as a dataclass it would take 0.4 ms of each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sacdoctor.diagnosis.causes import Attribution
from sacdoctor.model import LayerReport


class Still(NamedTuple):
    """A network of which nothing moved up to the last checkpoint: its weights and biases.

    `since` and `until` are timesteps; `pairs` counts the pairs of checkpoints in which it stood.
    """

    since: int
    until: int
    pairs: int
    tensors: tuple[str, ...]


class Moment(NamedTuple):
    """What a checkpoint of a run says of where its schedules stood.

    `steps` are the timesteps since the training began, `timesteps` those that SB3 counts. `call`
    is the same for all checkpoints of one call of `learn()`, None where the file does not say.
    `rate` is the optimizers' largest learning rate, `exploration` the share of random actions of
    DQN and its like, `random_steps` those with which an off-policy algorithm begins
    (`learning_starts`, 0 for others). `seen` stands for the last observation, in the middle of an
    episode.
    """

    steps: int
    timesteps: int
    updates: int
    call: float | None
    rate: float | None
    exploration: float | None
    random_steps: int
    seen: int | None = None


class Stored(NamedTuple):
    """The replay buffer beside a checkpoint: how many transitions it holds, and has room for.

    `steps` are the timesteps since the training began, each of which was a transition; `name` is
    that of the buffer's file.
    """

    transitions: int
    room: int
    steps: int
    environments: int
    name: str


class Leap(NamedTuple):
    """How far a number of `tensor` moved, and how far its optimizer can have moved it at most.

    That is in so many `updates` at the highest `rate` that the checkpoints tell of.
    """

    tensor: str
    distance: float
    limit: float
    updates: int
    rate: float

    @property
    def excess(self) -> float:
        """How many times its limit it moved."""
        return self.distance / self.limit


class Jump(NamedTuple):
    """A network that something else than training changed between two checkpoints.

    `leap` is the furthest of its `tensors` that moved too far; None, and no tensors, where none
    did. `left` is the share of the weights that is left in the new ones where that is none but for
    chance, else None. `since` and `until` are the timesteps of the checkpoints.
    """

    component: str
    tensors: tuple[str, ...]
    leap: Leap | None
    left: float | None
    since: int = 0
    until: int = 0


class RunFacts(NamedTuple):
    """What no checkpoint shows by itself.

    `unmoved`: the weights and biases that are identical in all checkpoints while others of their
    network moved, and what that is put down to. `told`: the tensors of which some checkpoint's own
    optimizer state speaks. `layers`: the biases at notice or worse in the last checkpoint. `still`:
    the components that stand still while another moves; `stale`: the target networks that do while
    their online network moves, for two pairs of checkpoints and two intervals of target updates:
    one pair alone may, as SB3 copies DQN's network before it trains it once more, and saves.
    `moments` are those of the checkpoints, in order. `stored` is the buffer beside the last of
    them that has one, None where none has. `jumps` are in the order of time.
    """

    unmoved: Mapping[str, Attribution]
    told: Collection[str]
    layers: tuple[LayerReport, ...]
    still: Mapping[str, Still]
    stale: Mapping[str, Still]
    moments: tuple[Moment, ...] = ()
    stored: Stored | None = None
    jumps: tuple[Jump, ...] = ()

    @classmethod
    def in_words(cls) -> str:
        return "the checkpoints of a run together"
