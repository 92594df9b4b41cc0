"""Two checkpoints side by side: which tensors, moments and settings differ, and how far."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Any

from msgspec import Struct

from sacdoctor.algorithms import TRAINED_VARIABLES
from sacdoctor.checkpoint import Checkpoint, Pickled, Tensor
from sacdoctor.diagnosis import Facts
from sacdoctor.errors import SacdoctorError
from sacdoctor.history.distance import UNCHANGED, Distance, distance
from sacdoctor.shown import Shown


class TensorStatus(StrEnum):
    """What became of a tensor between two checkpoints; `identical`: bit for bit."""

    IDENTICAL = "identical"
    CHANGED = "changed"
    RESHAPED = "reshaped"
    ADDED = "added"
    REMOVED = "removed"


IDENTICAL, CHANGED, RESHAPED, ADDED, REMOVED = TensorStatus
VARIABLES = "variables"
"""The component of tensors outside the policy, such as `log_ent_coef`."""


class TensorDifference(Struct, frozen=True):
    """One tensor, or one moment of one, in both checkpoints.

    `changed`, `max_abs` and `relative_l2` are those of a `Distance`, None where there is nothing to
    compare. A shape is None where the tensor is not there, and () for a plain number.

    Of a moment, `file` is where it stands in the checkpoint, `name` the parameter that it belongs
    to (or `entry 12`, where the file does not tell) and `moment` what the optimizer calls it.
    """

    name: str
    component: str
    status: TensorStatus
    shape_before: tuple[int, ...] | None
    shape_after: tuple[int, ...] | None
    changed: int | None = None
    max_abs: float | None = None
    relative_l2: float | None = None
    file: str | None = None
    moment: str | None = None


class SettingDifference(Struct, frozen=True):
    """A setting with two values: of `data`, or of an optimizer's parameter groups.

    Pickled values, which are never opened, stand as a text with their type and checksum.
    """

    key: str
    before: Any
    after: Any


class Difference(Shown, Struct, frozen=True):
    """What lies between the checkpoints `a` and `b`. Identical tensors are listed, too.

    `same_settings` counts the settings that are equal.
    """

    a: str
    b: str
    tensors: tuple[TensorDifference, ...]
    optimizer: tuple[TensorDifference, ...]
    settings: tuple[SettingDifference, ...]
    same_settings: int

    @property
    def is_empty(self) -> bool:
        """Whether the two are the same in all that is compared."""
        parts = (*self.tensors, *self.optimizer)
        return not self.settings and all(part.status == IDENTICAL for part in parts)


def diff(a: str | Path, b: str | Path) -> Difference:
    """Return what changed from checkpoint `a` to checkpoint `b`.

    Compared are the policy's tensors (aliases once), the variables beside it, what the
    optimizers keep, and all settings; other members are not. Raises `SacdoctorError` where one
    of them cannot be read.
    """
    with Checkpoint(a) as before, Checkpoint(b) as after:
        try:
            old, new = _settings(before), _settings(after)
            keys = dict.fromkeys([*old, *new])
            differing = [key for key in keys if old.get(key) != new.get(key)]
            facts = Facts(before), Facts(after)
            return Difference(
                str(a),
                str(b),
                tuple(_tensors(*facts)),
                tuple(_optimizers(*facts)),
                tuple(SettingDifference(key, old.get(key), new.get(key)) for key in differing),
                len(keys) - len(differing),
            )
        except SacdoctorError as error:
            raise error.at(b) from None


def _tensors(before: Facts, after: Facts) -> Iterator[TensorDifference]:
    anatomies = [before.anatomy, after.anatomy]
    for name in dict.fromkeys([*before.tensors, *after.tensors]):
        roles = [anatomy.roles[name] for anatomy in anatomies if name in anatomy.roles]
        if all(name in anatomy.aliases or name not in anatomy.roles for anatomy in anatomies):
            continue
        yield _compared(before.tensors.get(name), after.tensors.get(name), name, roles[0].component)
    old, new = before.checkpoint.variables, after.checkpoint.variables
    for name in dict.fromkeys([*old, *new]):
        yield _compared(old.get(name), new.get(name), name, VARIABLES)


def _optimizers(before: Facts, after: Facts) -> Iterator[TensorDifference]:
    names = [_entry_names(before), _entry_names(after)]
    old, new = _moments(before, *names), _moments(after, *reversed(names))
    for optimizer, name, moment in dict.fromkeys([*old, *new]):
        key = (optimizer, name, moment)
        holder = after if optimizer in after.optimizers else before
        file = holder.checkpoint.optimizer_file(optimizer)
        yield _compared(old.get(key), new.get(key), name, optimizer, file=file, moment=moment)


def _entry_names(facts: Facts) -> dict[tuple[str, int], str]:
    """Return the parameter's name for each optimizer entry that is mapped to one."""
    slots = facts.coverage.slots
    names = {(slot.optimizer, slot.number): name for name in slots for slot in slots[name]}
    for optimizer, variable in TRAINED_VARIABLES.items():
        alone = facts.optimizers.get(optimizer)
        if alone is not None and len(alone.entries) == 1:
            names[optimizer, alone.entries[0]] = variable
    return names


def _moments(
    facts: Facts,
    own: Mapping[tuple[str, int], str],
    other: Mapping[tuple[str, int], str],
) -> dict[tuple[str, str, str], Any]:
    """Return what the optimizers keep, by optimizer, parameter and moment."""
    found: dict[tuple[str, str, str], Any] = {}
    for optimizer, state in facts.optimizers.items():
        for number, kept in state.moments.items():
            entry = (optimizer, number)
            name = own.get(entry) or other.get(entry) or f"entry {number}"
            found |= {(optimizer, name, moment): value for moment, value in kept.items()}
    return found


def _compared(
    before: Any,
    after: Any,
    name: str,
    component: str,
    file: str | None = None,
    moment: str | None = None,
) -> TensorDifference:
    old, new = _shape(before), _shape(after)
    found: Distance | None = None
    if before is None or after is None:
        status = ADDED if before is None else REMOVED
    elif old != new:
        status = RESHAPED
    else:
        both_tensors = isinstance(before, Tensor) and isinstance(after, Tensor)
        found = distance(before, after) if both_tensors else _number_distance(before, after)
        same_type = not both_tensors or before.dtype == after.dtype
        status = IDENTICAL if found == UNCHANGED and same_type else CHANGED
    return TensorDifference(
        name,
        component,
        status,
        shape_before=old,
        shape_after=new,
        changed=found.changed if found else None,
        max_abs=found.max_abs if found else None,
        relative_l2=found.relative_l2 if found else None,
        file=file,
        moment=moment,
    )


def _shape(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    return value.shape if isinstance(value, Tensor) else ()


def _number_distance(before: Any, after: Any) -> Distance:
    """Compare plain values, such as the `step` that older optimizers keep as an integer."""
    before, after = _plain(before), _plain(after)
    if before == after:
        return UNCHANGED
    if not all(isinstance(value, (int, float)) for value in (before, after)):
        return Distance(1, None, None, None)
    gap = abs(float(after) - float(before))
    if not isfinite(gap):  # both at the ends of the range
        return Distance(1, None, None, None)
    return Distance(1, gap, gap, _finite(gap / abs(before)) if before else None)


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None


# -- settings ----------------------------------------------------------------------------------


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    found = {key: _plain(value) for key, value in checkpoint.hyperparameters.items()}
    for optimizer, state in checkpoint.optimizers.items():
        for index, group in enumerate(state.groups):
            place = optimizer if len(state.groups) == 1 else f"{optimizer}.group{index}"
            found |= {f"{place}.{key}": _plain(value) for key, value in group.options.items()}
    return found


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, Pickled):
        checksum = zlib.crc32(value.encoded.encode("utf-8", "surrogatepass"))
        return f"pickled {value.type}, CRC-32 {checksum:08x}"
    if isinstance(value, Tensor):
        return value.item() if value.numel == 1 else f"tensor of shape {value.shape}"
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, type(None))) else str(value)
