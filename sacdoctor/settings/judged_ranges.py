"""Judging the settings beside the learning rate: each by its bounds, some against others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from sacdoctor.settings.numbers import spelled
from sacdoctor.settings.ranges import (
    ADVISED_BUFFER,
    BOUNDS,
    DEFAULTS,
    ENTROPY,
    EPSILON,
    FAST_TARGET,
    FASTEST_TARGET,
    FEWEST_STEPS,
    ON_POLICY,
    REPLAY,
    SHARE_OF_TARGET,
    SHORTEST_ROLLOUT,
    SMALLEST_BUFFER,
    SOFT_TARGETS,
)
from sacdoctor.settings.verdicts import Verdict
from sacdoctor.severity import Severity

RANGED = (
    *dict.fromkeys(bound.key for bound in BOUNDS),
    "buffer_size",
    "n_steps",
    "target_entropy",
    "target_policy_noise",
)
"""The settings that are judged here."""
_AGAINST = (
    "n_envs",
    "target_update_interval",
    "gradient_steps",
    "target_noise_clip",
    "_n_updates",
)
RANGED_WITH = (*RANGED, *_AGAINST)
"""These and what they are held against, as they stand in a file of settings."""
WHOLE = ("batch_size", "buffer_size", "n_steps", "n_epochs", "policy_delay")
"""Those of them that are whole numbers."""


def as_whole(key: str, value: float) -> float:
    """Return the value of a setting as the constructor takes it."""
    return int(value) if key in WHOLE else value


def judge_ranged(algorithm: str, values: Mapping[str, float]) -> Iterator[Verdict]:
    """Yield what is wrong with the settings among `values`, at most one verdict each.

    `values` hold those of `RANGED_WITH` that are known, and `actions`, the number of continuous
    actions. What is missing is not judged.
    """
    for key in RANGED:
        final = values.get("exploration_final_eps")
        if key == "exploration_initial_eps" and final is not None and _epsilon(final, values):
            continue  # one fault: the end's verdict names the beginning, too
        if key in values:
            found = (
                _of_bounds(algorithm, key, values[key]),
                _of_others(algorithm, key, values),
            )
            verdicts = [verdict for verdict in found if verdict is not None]
            if verdicts:
                yield max(verdicts, key=lambda verdict: verdict.severity.rank)


def _of_bounds(algorithm: str, key: str, value: float) -> Verdict | None:
    for bound in BOUNDS:
        if bound.key == key and algorithm in bound.algorithms and bound.excludes(value):
            if bound.below is not None:
                message = f"below {spelled(bound.below)} {bound.effect}"
                message = message if value or bound.below > 1e-3 else f"at 0 {bound.effect}"
            else:
                message = f"above {spelled(bound.above or 0.0)} {bound.effect}"
            message += f" ({bound.source})" if bound.source else ""
            advised = _advised(algorithm, key)
            return Verdict(key, value, advised, bound.below, bound.above, bound.severity, message)
    return None


def _advised(algorithm: str, key: str) -> float:
    if key == "ent_coef":
        return 0.1 if algorithm in ENTROPY else 0.0
    if key == "tau" and algorithm in EPSILON:
        return 1.0
    if key == "gae_lambda" and algorithm == "A2C":
        return 1.0
    if key == "batch_size" and algorithm in SOFT_TARGETS:
        return 256
    return DEFAULTS[key]


def _of_others(algorithm: str, key: str, values: Mapping[str, float]) -> Verdict | None:
    value = values[key]
    if key == "tau" and algorithm in SOFT_TARGETS:
        return _tau(value, values)
    if key == "buffer_size" and algorithm in REPLAY:
        return _buffer(value, values)
    if key == "exploration_final_eps" and algorithm in EPSILON:
        return _epsilon(value, values)
    if key == "n_steps" and algorithm in ON_POLICY:
        return _steps(algorithm, value, values)
    if key == "target_entropy" and algorithm in ENTROPY:
        return _target_entropy(value, values)
    if key == "target_policy_noise" and algorithm == "TD3":
        return _target_noise(value, values)
    return None


def _tau(tau: float, values: Mapping[str, float]) -> Verdict | None:
    # SB3 counts the interval within one call of `train`, whose first update moves the target.
    interval, per_call = values.get("target_update_interval", 1.0), values.get("gradient_steps", 1)
    interval = max(min(interval, per_call) if per_call > 0 else interval, 1.0)
    speed, updates = tau / interval, values.get("_n_updates", 0.0)
    if speed > FAST_TARGET:
        severity = Severity.WARNING if speed > FASTEST_TARGET else Severity.NOTICE
        return Verdict(
            *("tau", tau, DEFAULTS["tau"], None, FAST_TARGET, severity),
            f"the target is the online network of {1 / speed:.0f} updates ago: it follows each "
            "error that it should damp (arXiv:1801.01290, figure 3c; rl-zoo: up to 0.05)",
        )
    # For this `BOUNDS` has a notice; here the counters say what came of it.
    if 0 < tau < 1e-3 and updates and math.exp(-updates * speed) > SHARE_OF_TARGET:
        return Verdict(
            *("tau", tau, DEFAULTS["tau"], 1e-3, None, Severity.WARNING),
            f"after {updates:,.0f} updates {100 * math.exp(-updates * speed):.0f} % of the target "
            "still is what it started as",
        )
    return None


def _buffer(size: float, values: Mapping[str, float]) -> Verdict | None:
    batch = values.get("batch_size")
    if batch is None or size >= SMALLEST_BUFFER * batch:
        return None
    return Verdict(
        *("buffer_size", size, ADVISED_BUFFER * batch, SMALLEST_BUFFER * batch, None),
        Severity.WARNING,
        f"it holds {size / batch:.2g} batches of {batch:,.0f}: each update sees the same few "
        "transitions, the latest (rl-zoo: 78 batches and more)",
    )


def _epsilon(final: float, values: Mapping[str, float]) -> Verdict | None:
    initial = values.get("exploration_initial_eps", 1.0)
    if final > initial:
        message = f"exploration rises, from {spelled(initial)} to {spelled(final)}"
    elif final <= 0 and initial <= 0:
        message = "no action is ever random, and of two actions DQN takes the same for ever"
    else:
        return None
    advised = DEFAULTS["exploration_final_eps"]
    severity = Severity.WARNING
    return Verdict("exploration_final_eps", final, advised, None, initial, severity, message)


def _steps(algorithm: str, steps: float, values: Mapping[str, float]) -> Verdict | None:
    if algorithm == "A2C":
        rollout = steps * values.get("n_envs", SHORTEST_ROLLOUT)
        if rollout >= SHORTEST_ROLLOUT:
            return None
        return Verdict(
            *("n_steps", steps, SHORTEST_ROLLOUT, SHORTEST_ROLLOUT, None, Severity.WARNING),
            f"an update follows the noise of {rollout:.0f} transitions (SB3's default: 5)",
        )
    if steps >= FEWEST_STEPS:
        return None
    return Verdict(
        *("n_steps", steps, 2048, FEWEST_STEPS, None, Severity.WARNING),
        f"advantages see {steps:.0f} rewards and are the value function's errors otherwise "
        "(rl-zoo: 8 and more)",
    )


def _target_entropy(target: float, values: Mapping[str, float]) -> Verdict | None:
    actions = values.get("actions")
    most = None if actions is None else actions * math.log(2)
    if actions is None or most is None or target < most:
        return None
    return Verdict(
        *("target_entropy", target, -actions, None, most, Severity.WARNING),
        f"{actions:.0f} action{'s' if actions != 1 else ''} in [-1, 1] have an entropy of at most "
        f"{most:.3g}: the coefficient grows without end (arXiv:1812.05905, section 5)",
    )


def _target_noise(noise: float, values: Mapping[str, float]) -> Verdict | None:
    effective = min(noise, values.get("target_noise_clip", noise))
    if noise <= 0.5:
        return None
    severity = Severity.WARNING if effective > 1.0 else Severity.NOTICE
    return Verdict(
        *("target_policy_noise", noise, DEFAULTS["target_policy_noise"], None, 0.5, severity),
        "the target averages over actions far from the actor's (arXiv:1802.09477: 0.2)",
    )
