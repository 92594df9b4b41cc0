"""Which pickled schedules give way to a number, or go, so that loading runs no code of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from sacdoctor.checkpoint import Checkpoint, Pickled, constant_of
from sacdoctor.errors import CheckpointError
from sacdoctor.repair.model import Left, SettingChange
from sacdoctor.trust import PickledPart, description, each_once, parts_of

REBUILT = {
    "lr_schedule": ("learning_rate",),
    "exploration_schedule": (
        "exploration_initial_eps",
        "exploration_final_eps",
        "exploration_fraction",
    ),
}
"""What SB3 builds anew on every loading, and from which settings. Source: `_setup_lr_schedule` in
stable_baselines3/common/base_class.py; `_setup_model` in stable_baselines3/dqn/dqn.py and in
sb3_contrib/qrdqn/qrdqn.py."""
NUMBERS = ("learning_rate", "clip_range", "clip_range_vf")
"""Schedules in whose place SB3 takes a number: `_setup_model` in ppo/ppo.py wraps it."""
_CALLED_AS_IT_STANDS = "SB3 calls it as it stands in the file, so no number can take its place"


def strip(
    checkpoint: Checkpoint, given_rate: float | None
) -> tuple[list[SettingChange], list[Left]]:
    """Return how each schedule that carries unknown code is replaced or removed, and what stays.

    A `given_rate` replaces `learning_rate` and `lr_schedule` by itself, and they are left out here.
    """
    changes: list[SettingChange] = []
    left: list[Left] = []
    for part in parts_of(checkpoint):
        key = part.key
        if given_rate is not None and key in ("learning_rate", "lr_schedule"):
            continue
        if part.member == "data" and key in REBUILT:
            if all(source in checkpoint.hyperparameters for source in REBUILT[key]):
                changes.append(SettingChange(key, "a schedule", None))
                continue
            reason = f"SB3 cannot build it anew without {' and '.join(REBUILT[key])}"
        elif part.member == "data" and key in NUMBERS:
            number = _constant(checkpoint, key)
            if number is None and key == "learning_rate":
                number = _last_rate(checkpoint)
            if number is not None:
                changes.append(SettingChange(key, "a schedule", number))
                continue
            reason = _unknown_number(checkpoint, key)
        elif part.member == "data" and key == "delta_std_schedule":
            reason = _CALLED_AS_IT_STANDS
        else:
            reason = "no schedule"
        left.append(Left(part.place, f"{reason}; {_what(part)}"))
    return changes, left


def _what(part: PickledPart) -> str:
    return ", ".join(map(description, each_once(part.references)[:3]))


def _constant(checkpoint: Checkpoint, key: str) -> float | None:
    value = checkpoint.hyperparameters[key]
    try:
        if not isinstance(value, Pickled):
            return None
        number = constant_of(value.pickle(), value.budget)
    except CheckpointError:
        return None  # no base64; what cannot be read is no constant
    return number if number is not None and _is_usable(number) else None


def _last_rate(checkpoint: Checkpoint) -> float | None:
    """Return the rate that all optimizers last used, None where they differ or it is no rate."""
    rates = set(_rates(checkpoint))
    rate = rates.pop() if len(rates) == 1 else None
    return rate if rate is not None and _is_usable(rate) else None


def _rates(checkpoint: Checkpoint) -> Iterator[float | None]:
    for optimizer in checkpoint.optimizers.values():
        yield from (group.learning_rate for group in optimizer.groups)


def _is_usable(number: float) -> bool:
    return isfinite(number) and number > 0


def _unknown_number(checkpoint: Checkpoint, key: str) -> str:
    if key != "learning_rate":
        return "its function is no constant that SB3 wrote, and nothing else in the file tells it"
    rates = sorted({f"{rate:g}" for rate in _rates(checkpoint) if rate is not None})
    found = f"its optimizers last used {' and '.join(rates)}" if rates else "no optimizer tells it"
    return f"{found}; --learning-rate sets one"
