"""The settings that are recommended for an algorithm, and those around a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sacdoctor.settings.algorithms import HAS_LEARNING_STARTS
from sacdoctor.settings.ranges import (
    CLIP_GRAD_VALUE,
    LEARNING_RATES,
    MAX_GRAD_NORM,
    WARMUP_STEPS,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an algorithm is to be trained with. None: not set.

    `linear`: the learning rate decays linearly to 0. `was` holds what a corrected setting said
    before, by name.
    """

    algorithm: str
    learning_rate: float | None
    linear: bool = False
    max_grad_norm: float | None = MAX_GRAD_NORM
    clip_grad_value: float | None = CLIP_GRAD_VALUE
    no_trading_warmup_steps: int | None = None
    learning_starts: int | None = None
    was: Mapping[str, str] = field(default_factory=dict)


def recommended(algorithm: str) -> Settings:
    """Return the recommended settings for an algorithm of `ALGORITHMS`."""
    from_buffer = algorithm in HAS_LEARNING_STARTS
    return Settings(
        algorithm=algorithm,
        learning_rate=LEARNING_RATES[algorithm].recommended,
        # TRPO bounds each step of the policy by itself, and ARS has no gradient.
        max_grad_norm=None if algorithm == "ARS" else MAX_GRAD_NORM,
        no_trading_warmup_steps=WARMUP_STEPS,
        learning_starts=WARMUP_STEPS if from_buffer else None,
    )
