"""Optimizer states: parameter groups and the moments that an optimizer keeps per parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from sacdoctor.checkpoint.tensors import Tensor, refuse_endless_views
from sacdoctor.errors import CorruptCheckpoint
from sacdoctor.optimizers import STEP


class ParameterGroup(Struct, frozen=True):
    """One entry of `param_groups`: its options (`lr`, `betas`, …) and the entries it covers."""

    options: dict[str, Any]
    params: tuple[int, ...]

    @property
    def learning_rate(self) -> float | None:
        """The group's `lr`, None where it is missing or no number."""
        return _number(self.options.get("lr"))


class OptimizerState(Struct, frozen=True):
    """What `torch.optim.Optimizer.state_dict()` saved.

    `moments` maps an entry's running number to its tensors and numbers (`exp_avg`,
    `square_avg`, `momentum_buffer`, `step`, …). An entry whose gradient was always None has a
    number in a group and nothing here. `is_whole`: nothing that was saved is left out of both.
    `parts` are the prefixes of the names of the tensors that it looks after, as far as its name
    beside theirs tells, empty where it tells none. None in SB3's files, where the name is enough.
    """

    groups: tuple[ParameterGroup, ...]
    moments: dict[int, dict[str, Any]]
    is_whole: bool = True
    parts: tuple[str, ...] | None = None

    @property
    def entries(self) -> tuple[int, ...]:
        """The running numbers of all groups, in the order of the groups."""
        return tuple(number for group in self.groups for number in group.params)

    @property
    def learning_rate(self) -> float | None:
        """The first group's `lr`; SB3 writes the same into every group."""
        return self.groups[0].learning_rate if self.groups else None

    def options(self, number: int) -> Mapping[str, Any]:
        """Return the options of the group that an entry is in, empty for one in none."""
        return next((group.options for group in self.groups if number in group.params), {})

    def step(self, number: int) -> float | None:
        """Return how many updates an entry has had, None where its moments do not say."""
        value = self.moments.get(number, {}).get(STEP)
        if isinstance(value, Tensor):
            value = value.item() if value.numel == 1 and not value.dtype.zero_mask else None
        return float(value) if isinstance(value, (int, float)) else None


def optimizer_state(saved: Any) -> OptimizerState:
    """Return the state dict `saved` as an `OptimizerState`.

    Raises `CorruptCheckpoint` where it has not the form that torch.optim writes.
    """
    if not isinstance(saved, dict) or not isinstance(saved.get("param_groups"), list):
        raise CorruptCheckpoint("it is no optimizer state (no param_groups)")
    groups: list[ParameterGroup] = []
    for group in saved["param_groups"]:
        params = group.get("params") if isinstance(group, dict) else None
        if not isinstance(params, list) or not all(type(number) is int for number in params):
            raise CorruptCheckpoint("an optimizer's parameter group has no list of numbers")
        options = {str(key): _flat(value) for key, value in group.items() if key != "params"}
        groups.append(ParameterGroup(options, tuple(params)))
    states = saved.get("state", {})
    if not isinstance(states, dict):
        raise CorruptCheckpoint("an optimizer's state is no dict")
    moments = {
        number: {str(key): _flat(value) for key, value in kept.items()}
        for number, kept in states.items()
        if type(number) is int and isinstance(kept, dict) and kept
    }
    refuse_endless_views(
        value for kept in moments.values() for value in kept.values() if isinstance(value, Tensor)
    )
    return OptimizerState(tuple(groups), moments, _is_whole(saved))


def _is_whole(saved: dict[Any, Any]) -> bool:
    """Return whether groups and moments are all of it, and plain enough to be kept as they are."""
    states, groups = saved.get("state", {}), saved["param_groups"]
    return (
        saved.keys() <= {"state", "param_groups"}
        and all(type(number) is int and isinstance(kept, dict) for number, kept in states.items())
        and all(
            isinstance(key, str) and _flat(value) is value
            for kept in (*states.values(), *groups)
            for key, value in kept.items()
        )
    )


def _flat(value: Any) -> Any:
    """Return a plain value, a tensor, or a list or tuple of them; else the name of its type.

    What torch.optim writes nests no deeper, and a few bytes can nest further than anyone can
    wait for. No number of an optimizer needs more than 64 bits.
    """
    if isinstance(value, (list, tuple)) and all(map(_is_flat, value)):
        return value
    return value if _is_flat(value) else type(value).__name__


def _is_flat(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 2**63
    return isinstance(value, (str, bytes, float, bool, type(None), Tensor))


def _number(value: Any) -> float | None:
    if isinstance(value, Tensor):
        value = value.item()
    return float(value) if isinstance(value, (int, float)) else None
