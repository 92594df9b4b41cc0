"""The settings that are recommended for an algorithm, and those around a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.settings.kept import Kept
from sacdoctor.settings.ranges import CLIP_GRAD_VALUE, MAX_GRAD_NORM, WARMUP_STEPS


class Settings(Struct, frozen=True):
    """What an algorithm is to be trained with. None: not set.

    `linear`: the learning rate decays linearly to 0. `was` holds what a corrected setting said
    before, by name. `others` are settings beside those named here, where they were corrected, and
    `kept` is what a file says besides.
    """

    algorithm: str
    learning_rate: float | None
    linear: bool = False
    max_grad_norm: float | None = MAX_GRAD_NORM
    clip_grad_value: float | None = CLIP_GRAD_VALUE
    no_trading_warmup_steps: int | None = None
    learning_starts: int | None = None
    was: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)


def recommended(algorithm: str) -> Settings:
    """Return the recommended settings for an algorithm of `ALGORITHMS`."""
    row = ALGORITHMS[algorithm]
    return Settings(
        algorithm=algorithm,
        learning_rate=row.learning_rates.recommended,
        max_grad_norm=MAX_GRAD_NORM if row.has_gradients else None,
        no_trading_warmup_steps=WARMUP_STEPS,
        learning_starts=WARMUP_STEPS if row.replays else None,
    )
