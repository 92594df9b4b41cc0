"""The optimizers of PyTorch and SB3: what each keeps per parameter, one row per optimizer.

Source: torch/optim/*.py, stable_baselines3/common/sb2_compat/rmsprop_tf_like.py. Others are read
alike where they keep the same under the same names, as NAdam and RAdam do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct

Options = Mapping[str, object]
"""The options of a parameter group (`lr`, `betas`, …), by name."""

STEP = "step"
"""Where an optimizer keeps how many updates a parameter has had: a tensor without dimensions, or
a plain number (SB3's RMSpropTFLike; torch before 1.12). SGD does not count."""


class Optimizer(Struct, frozen=True):
    """One optimizer. `name` is its class's.

    - `second_moment`: the key of its mean of squared gradients, of the parameter's shape; None for
      one without.
    - `decay`: finds in a group's options what the second moment is multiplied with at each step.
    - `starts_at_one`: whether the second moment does, so that decay^step is left of it where no
      gradient comes; else it starts at 0.
    - `momentum`: the key of its running sum of gradients or steps, kept where momentum is on.
    - `own_option`: an option of its groups that no other optimizer has; None where what it keeps
      has to tell.
    """

    name: str
    second_moment: str | None = None
    decay: Callable[[Options], object] = lambda options: None
    starts_at_one: bool = False
    momentum: str | None = None
    own_option: str | None = None


def _second_beta(options: Options) -> object:
    betas = options.get("betas")
    return betas[1] if isinstance(betas, (tuple, list)) and len(betas) == 2 else None


def _alpha(options: Options) -> object:
    return options.get("alpha")


_ROWS = (
    Optimizer("Adam", second_moment="exp_avg_sq", decay=_second_beta),
    Optimizer("AdamW", second_moment="exp_avg_sq", decay=_second_beta),
    Optimizer("RMSprop", second_moment="square_avg", decay=_alpha, momentum="momentum_buffer"),
    # Saves what RMSprop saves: a file does not say which of the two it was.
    Optimizer(
        "RMSpropTFLike",
        second_moment="square_avg",
        decay=_alpha,
        starts_at_one=True,
        momentum="momentum_buffer",
    ),
    Optimizer("SGD", momentum="momentum_buffer", own_option="nesterov"),
)

OPTIMIZERS: Mapping[str, Optimizer] = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by class name."""

SECOND_MOMENTS: tuple[str, ...] = tuple(
    dict.fromkeys(row.second_moment for row in _ROWS if row.second_moment is not None)
)
"""The keys of all second moments: means of squared gradients."""

TELLING_MOMENTS: tuple[str, ...] = tuple(
    dict.fromkeys([*SECOND_MOMENTS, *(row.momentum for row in _ROWS if row.momentum is not None)])
)
"""The keys of all moments that are 0 where every gradient was 0, the most telling first."""


def optimizer_with(options: Options) -> Optimizer | None:
    """Return the optimizer that a parameter group's options alone tell, None where they do not."""
    return next((row for row in _ROWS if row.own_option in options), None)


def keeps_moments(options: Options) -> bool:
    """Return whether a group's optimizer keeps moments of a parameter from its first step on.

    All do but SGD without momentum.
    """
    row = optimizer_with(options)
    return row is None or row.second_moment is not None or bool(options.get("momentum"))


def optimizer_among(class_names: Iterable[str]) -> Optimizer | None:
    """Return the first of these classes (an `__mro__`) that is in the table, None for none."""
    return next((OPTIMIZERS[name] for name in class_names if name in OPTIMIZERS), None)


def decay_of(key: str, options: Options) -> float | None:
    """Return what a group's options multiply the second moment `key` with at each step.

    None where `key` is no second moment, or where they hold no such number from 0 to below 1.
    """
    for row in _ROWS:
        value = row.decay(options) if row.second_moment == key else None
        if isinstance(value, (int, float)) and 0 <= value < 1:
            return float(value)
    return None


def starting_at_one(key: str) -> str | None:
    """Return which optimizer starts the second moment `key` at 1, None where all start at 0."""
    names = (row.name for row in _ROWS if row.second_moment == key and row.starts_at_one)
    return next(names, None)
