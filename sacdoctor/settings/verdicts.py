"""Judging one setting: is it safe, and if not, how far off it is."""

from __future__ import annotations

import math

from msgspec import Struct

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.settings.numbers import spelled
from sacdoctor.settings.ranges import (
    CLIP_GRAD_VALUE,
    LEARNING_STARTS,
    LONGEST_WARMUP,
    MAX_GRAD_NORM,
    MAX_GRAD_NORM_RANGE,
    TIGHTEST_TUNED_NORM,
    WARMUP_STEPS,
)
from sacdoctor.severity import Severity


class Verdict(Struct, frozen=True):
    """Why a setting must change, and to what.

    `low` and `high` are the ends of the safe range, None where there is no such end.
    `recommended` None stands for a setting that is better left unset.
    """

    key: str
    value: float | None
    recommended: float | None
    low: float | None
    high: float | None
    severity: Severity
    message: str

    @property
    def must_change(self) -> bool:
        """Whether the setting is to be corrected. A notice may be what others tuned on purpose."""
        return self.severity.rank >= Severity.WARNING.rank


def judge_learning_rate(algorithm: str, rate: float) -> Verdict | None:
    """Return what is wrong with a configured learning rate, None where it is safe.

    `rate` is the one that was asked for, at the start of a schedule: the rate that a finished run
    left in its optimizers has decayed to 0 and says nothing. Above the safe range, but not above
    what rl-zoo tuned for some environment, is a notice: batch size, network and normalisation
    decide there. Further out is a warning; critical is a rate far above the range, where none of
    rl-zoo's tuned settings for the same algorithm lies either (see `LearningRates.critical_above`),
    and one that is not above 0.

    Raises `KeyError` for a name that is not in `ALGORITHMS`.
    """
    safe = ALGORITHMS[algorithm].learning_rates
    if safe.low <= rate <= safe.high:
        return None
    severity = Severity.WARNING
    if not rate > 0:  # and not a number
        severity = Severity.CRITICAL
        message = "nothing learns unless the learning rate is above 0"
    elif rate < safe.low:
        message = (
            f"{_times(safe.recommended / rate)} below the recommended {spelled(safe.recommended)} "
            f"and {_times(safe.low / rate)} below the lower end of the safe range "
            f"{spelled(safe.low)}"
        )
    else:
        message = (
            f"{_times(rate / safe.recommended)} the recommended {spelled(safe.recommended)} "
            f"and {_times(rate / safe.high)} the upper end of the safe range {spelled(safe.high)}"
        )
        if rate > safe.critical_above:
            severity = Severity.CRITICAL
        elif rate <= safe.tuned:
            severity = Severity.NOTICE
            message += f", though rl-zoo's tuned settings go up to {spelled(safe.tuned)}"
    return Verdict("learning_rate", rate, safe.recommended, safe.low, safe.high, severity, message)


def judge_max_grad_norm(algorithm: str | None, norm: float | None) -> Verdict | None:
    """Return what is wrong with the largest gradient norm, None where it is safe.

    A `norm` of None is no clipping. What an SB3 constructor does by itself is safe for its
    algorithm: 10 for DQN, none for QRDQN. Algorithms that update their policy by other means than
    an optimizer clip nothing, whatever their settings say (sb3-contrib saves 0.0 in every TRPO
    checkpoint).

    Raises `KeyError` for a name that is not in `ALGORITHMS`.
    """
    row = None if algorithm is None else ALGORITHMS[algorithm]
    low, high = MAX_GRAD_NORM_RANGE
    if row is not None and row.updates_by_other_means:
        return None
    if row is not None and row.clips:
        if norm == row.max_grad_norm:
            return None
        high = row.loosest_max_grad_norm or high
    if norm is not None and low <= norm <= high:
        return None
    severity = Severity.WARNING
    if norm is None:
        message = "gradients are not clipped: one bad batch can throw the weights anywhere"
    elif not norm > 0:
        severity = Severity.CRITICAL
        message = "every gradient is scaled to nothing, so nothing learns"
    elif norm < low:
        message = f"below {spelled(low)} is too tight: most gradients are cut short"
        if norm >= TIGHTEST_TUNED_NORM:
            severity = Severity.NOTICE
            message = (
                f"below {spelled(low)} most gradients are cut short, though rl-zoo's tuned "
                f"settings go down to {spelled(TIGHTEST_TUNED_NORM)}"
            )
    else:
        message = f"above {spelled(high)} is too loose: a gradient that explodes passes"
    return Verdict("max_grad_norm", norm, MAX_GRAD_NORM, low, high, severity, message)


def judge_clip_grad_value(value: float | None) -> Verdict | None:
    """Return why clipping each gradient element by itself is wrong, None where nothing does."""
    if value is None:
        return None
    message = "clipping each element turns the gradient's direction; max_grad_norm keeps it"
    return Verdict("clip_grad_value", value, CLIP_GRAD_VALUE, None, None, Severity.WARNING, message)


def judge_warmup_steps(steps: float) -> Verdict | None:
    """Return what is wrong with the number of steps with a forced action, None where it is fine."""
    if 0 <= steps <= LONGEST_WARMUP:
        return None
    if steps > LONGEST_WARMUP:
        message = (
            f"above {LONGEST_WARMUP} is too long: the replay buffer fills with actions that the "
            "agent never chose"
        )
    else:
        message = "a warm-up cannot last less than 0 steps"
    return Verdict(
        "no_trading_warmup_steps", steps, WARMUP_STEPS, 0, LONGEST_WARMUP, Severity.WARNING, message
    )


def judge_learning_starts(
    algorithm: str | None, learning_starts: float | None, warmup_steps: float
) -> Verdict | None:
    """Return what is wrong with where updates begin, None where no update uses forced actions.

    `learning_starts` None is SB3's default; a `warmup_steps` of 0 is no forced warm-up. Algorithms
    that learn from no replay buffer have no such setting.

    Raises `KeyError` for a name that is not in `ALGORITHMS`.
    """
    if algorithm is not None and not ALGORITHMS[algorithm].replays:
        return None
    starts = LEARNING_STARTS if learning_starts is None else learning_starts
    if warmup_steps <= 0 or starts >= warmup_steps or math.isnan(warmup_steps):
        return None
    default = " (SB3's default, as none is set)" if learning_starts is None else ""
    message = (
        f"updates would begin after {spelled(starts)} steps{default}, while the action is forced "
        f"until step {spelled(warmup_steps)}"
    )
    return Verdict(
        "learning_starts",
        learning_starts,
        warmup_steps,
        warmup_steps,
        None,
        Severity.WARNING,
        message,
    )


def _times(factor: float) -> str:
    if math.isinf(factor):
        return "infinitely many times"
    return f"{factor:,.0f} times" if factor >= 1000 else f"{factor:.3g} times"
