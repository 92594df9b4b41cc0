"""What a repair does, as plain values: to which elements, moments and settings, and why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sacdoctor.diagnosis import Completion, Slot
from sacdoctor.errors import SacdoctorError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sacdoctor.pickles import GlobalName


class RepairError(SacdoctorError):
    """A repair that was asked for cannot be done; nothing was written."""


@dataclass(frozen=True, slots=True)
class TensorRepair:
    """Dead elements of one tensor and their new values.

    `by`: `reinit` (drawn anew), `target` (from the target network), `donor` (from an earlier
    checkpoint), `refit` (fitted to recorded transitions), `online` (a target network's tensor, from
    the online one). `positions` count elements in C order; `values` are raw elements of the
    tensor's type. `source` is the other file that they come from, saved `age` timesteps earlier.
    """

    name: str
    by: str
    fill: str
    positions: NDArray[np.int64] = field(repr=False, compare=False)
    values: NDArray[Any] = field(repr=False, compare=False)
    source: str | None = None
    age: int | None = None

    @property
    def elements(self) -> int:
        return len(self.positions)


class Refit(Struct, frozen=True):
    """What came of fitting the dead elements of one network to recorded transitions.

    `before` and `after` are means of `measure` over `held_out` transitions that were not fitted to,
    for the best that there was without a fit and for what was fitted; `low` to `high` is the 95 %
    interval of how much better it became, in the measure's own unit. `is_written`: it is better,
    and its values are in the plan. `source` is the replay buffer, saved `age` timesteps before the
    checkpoint, None where that is not known.
    """

    network: str
    tensors: tuple[str, ...]
    elements: int
    transitions: int
    held_out: int
    measure: str
    before: float
    after: float
    low: float
    high: float
    is_written: bool
    source: str = ""
    age: int | None = None

    def figures(self) -> dict[str, Any]:
        """Return all of it as JSON has it; the buffer by its name alone.

        JSON has no NaN and no infinity: what a broken network says is None.
        """
        before, after, low, high = (
            number if isfinite(number) else None
            for number in (self.before, self.after, self.low, self.high)
        )
        return {
            "network": self.network,
            "source": PurePath(self.source).name,
            "age": self.age,
            "tensors": list(self.tensors),
            "elements": self.elements,
            "transitions": self.transitions,
            "held_out": self.held_out,
            "measure": self.measure,
            "before": before,
            "after": after,
            "interval": [low, high],
            "written": self.is_written,
        }


class Left(Struct, frozen=True):
    """A tensor with zeros that is not repaired, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class MomentReset:
    """Moments set to zero for the repaired elements of one tensor.

    `file` is where the optimizer stands in the checkpoint. `step_reset`: the entry's step goes to
    0 too. `note` says why it does not, where one would expect it.
    """

    slot: Slot
    file: str
    name: str
    positions: NDArray[np.int64] = field(repr=False, compare=False)
    step_reset: bool
    note: str = ""

    @property
    def elements(self) -> int:
        return len(self.positions)


class SettingChange(Struct, frozen=True):
    """A setting inside the checkpoint that gets another value, or goes: then `after` is None.

    It is called `name` in `data`, or, with an `optimizer`, in the groups of that optimizer.
    """

    name: str
    before: float | str | None
    after: float | None
    optimizer: str | None = None

    @property
    def key(self) -> str:
        """What people and JSON call it: `learning_rate`, `actor.optimizer.lr`."""
        return self.name if self.optimizer is None else f"{self.optimizer}.{self.name}"


class Rename(Struct, frozen=True):
    """A class or function for which a pickle asks by another name; `place` is where that stands.

    A name is its module, and what it is called in there.
    """

    place: str
    before: GlobalName
    after: GlobalName


class RepairOptions(Struct, frozen=True):
    """What to repair and from what. `only` is a shell-style pattern of tensor names.

    `strip_code`: pickled schedules give way to numbers. `for_this_environment`: pickles ask for
    classes and functions by the names that they have in the Python at work. Where nothing else is
    asked for, that is all: a file that is only to load is not to come back with other weights.
    `trust`: modules of the user's own, from which a refit imports the policy.
    `complete_optimizer`: parameters that have no optimizer entry get one; `buffers` and
    `parameters` are patterns of names of tensors that could be either, and are one of them.
    """

    seed: int = 0
    only: str | None = None
    from_target: bool = False
    keep_optimizer: bool = False
    learning_rate: float | None = None
    max_grad_norm: float | None = None
    strip_code: bool = False
    for_this_environment: bool = False
    complete_optimizer: bool = False
    buffers: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()

    @property
    def is_for_loading_alone(self) -> bool:
        """Whether, but for a donor, nothing is asked for that needs another repair."""
        others = (self.only, self.learning_rate, self.max_grad_norm)
        asks_for_more = self.from_target or self.complete_optimizer
        is_for_loading = self.strip_code or self.for_this_environment
        return is_for_loading and not asks_for_more and all(x is None for x in others)


class RepairPlan(Struct, frozen=True):
    """Everything that will change in a checkpoint; empty where nothing needs to.

    `wrappers` are paths that go from names in the state dict. `unstripped` are pickles whose code
    was to be stripped and stays. `renames` are of what pickles ask for, and `unported` the pickles
    that this environment may fail to load all the same. `commands` are what the plan was asked to
    do in the words of `Rule.cured_by`, without arguments: `fix`, `fix --strip-code`. `refits` say
    what came of each network that was refitted, and `unused` which donors gave nothing, and why.
    """

    repaired: tuple[TensorRepair, ...] = ()
    left: tuple[Left, ...] = ()
    optimizer: tuple[MomentReset, ...] = ()
    settings: tuple[SettingChange, ...] = ()
    unstripped: tuple[Left, ...] = ()
    completions: tuple[Completion, ...] = ()
    wrappers: frozenset[str] = frozenset()
    renames: tuple[Rename, ...] = ()
    unported: tuple[Left, ...] = ()
    commands: frozenset[str] = frozenset()
    refits: tuple[Refit, ...] = ()
    unused: tuple[Left, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether carrying the plan out would change nothing."""
        changes = (self.repaired, self.settings, self.completions, self.wrappers, self.renames)
        return not any(changes)

    def number(self, slot: Slot) -> int:
        """Return the number that an optimizer's entry has once the plan is carried out."""
        for completion in self.completions:
            if completion.optimizer == slot.optimizer:
                return completion.moved[slot.number]
        return slot.number
