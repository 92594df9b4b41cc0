"""Statistics of `VecNormalize` that do not fit the agent beside which they lie.

## What it does
Reads the `VecNormalize` pickle that belongs to a checkpoint: that of the same name
(`rl_model_vecnormalize_N_steps.pkl` for `rl_model_N_steps.zip`), rl-zoo's in the folder that is
called like the checkpoint, or the only one beside it. It reports statistics

- of observations of another shape;
- that have not seen one observation (a `count` of 1e-4), though the agent has;
- with a `clip_obs` below 1, which cuts off what differs by less than a standard deviation, or
  below what the agent has seen;
- that do not make the last observation of the original one, for off-policy algorithms, whose files
  keep both;
- that turn the last observation back into one outside of the observation space, or the first one
  into values beyond `clip_obs` in half of the features, for on-policy algorithms.

Statistics go on after an observation was normalised, and a checkpoint that a callback saves is a
step behind them. So much is allowed for as the observations in between can have moved them:
n ÷ `count` of their distances, taken for 10 standard deviations. Statistics of a later moment, as
the `vecnormalize.pkl` at the end of a run beside an earlier checkpoint, are allowed all the more.

## Why is this bad
The loaded agent sees other observations than it was trained on.

## Example
The `vecnormalize.pkl` of another run. A `VecNormalize` made anew for evaluation instead of loaded.
Statistics saved before the training.

## Use instead
`env.save()` together with each `model.save()`, under names that belong together, as
`CheckpointCallback(save_vecnormalize=True)` does.

## Fix safety
No fix: which statistics are right, only the run knows.

## References
- stable_baselines3/common/vec_env/vec_normalize.py: `_normalize_obs`
- stable_baselines3/common/running_mean_std.py: `update_from_moments`
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sacdoctor.diagnosis.normalisation import Normalised, excess
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from sacdoctor.diagnosis.vec_normalize import Statistics

LEAST_CLIP = 1.0
"""Below, `clip_obs` is less than a standard deviation: of normal values it cuts off a third."""
FAR = 10.0
"""Standard deviations from the mean that an observation in between is taken to be, SB3's own
`clip_obs`."""
_ROUNDING = 1e-3
"""In standard deviations: of float32 observations far from 0 before they are scaled."""
_STEPS_BETWEEN = 2
"""Of all environments: a callback saves before SB3 keeps the observation, then updates may come."""


def check(agent: Normalised) -> Iterator[Finding]:
    """Yield one finding, the plainest, about statistics that do not fit."""
    if agent.own is None or not agent.own.moments or not agent.belongs:
        return
    for told in _faults(agent, agent.own):
        message, evidence = told
        yield RULE.finding(
            Severity.WARNING,
            message,
            evidence=f"{agent.own.path.name}: {evidence}",
            remedy="Load the agent with the statistics that were saved with it; without them, "
            "train on under a new VecNormalize.",
        )
        return


def _faults(agent: Normalised, own: Statistics) -> Iterator[tuple[str, str]]:
    for key, moments in own.moments.items():
        if key not in agent.original:
            continue
        last = agent.last[key]
        if moments.mean.shape != last.shape[1:]:
            yield (
                "the VecNormalize statistics are of other observations",
                f"shape {moments.mean.shape}, the agent's is {last.shape[1:]}",
            )
            return
    if own.count < 1.0 and agent.steps:
        yield (
            "the VecNormalize statistics have not seen an observation",
            f"count {own.count:.3g}: a mean of 0 and a variance of 1 change nothing",
        )
    if own.clip < LEAST_CLIP:
        yield (
            f"VecNormalize cuts observations off at {own.clip:.3g}",
            f"clip_obs {own.clip:.3g}, in standard deviations: nearly all of what tells one "
            "observation from another is lost",
        )
    compare = _of_one_moment if agent.is_same_moment else _of_two_moments
    for key in own.moments:
        if key in agent.original:
            yield from compare(agent, own, key)


def _of_one_moment(agent: Normalised, own: Statistics, key: str) -> Iterator[tuple[str, str]]:
    last = agent.last[key].astype(np.float64)
    made = np.clip(own.scaled(key, agent.original[key]), -own.clip, own.clip)
    over = np.abs(made - last) - _slack(agent, own, last)
    if np.any(over > 0.0):
        at = np.unravel_index(int(np.argmax(np.where(np.isfinite(over), over, 0.0))), over.shape)
        yield (
            "the VecNormalize statistics do not fit the agent",
            f"of the last original observation they make {made[at]:.3g} where the agent saw "
            f"{last[at]:.3g}",
        )


def _of_two_moments(agent: Normalised, own: Statistics, key: str) -> Iterator[tuple[str, str]]:
    last = agent.last[key].astype(np.float64)
    largest = float(np.abs(last).max())
    if largest > own.clip * (1.0 + _ROUNDING):
        yield (
            "the VecNormalize statistics do not fit the agent",
            f"clip_obs {own.clip:.3g}, and the agent saw {largest:.3g}",
        )
    first = own.scaled(key, agent.original[key])
    beyond = float(np.mean(np.abs(first) > own.clip))
    if beyond >= 0.5:
        yield (
            "the VecNormalize statistics do not fit the agent",
            f"{100 * beyond:.0f} % of the first original observation lies beyond clip_obs "
            f"({own.clip:.3g} standard deviations)",
        )
    box = agent.limits.get(key)
    if box is None or excess(agent.original[key], box) > 0.0 or not np.all(np.isfinite(last)):
        return
    inner = np.where(np.abs(last) < own.clip * (1.0 - _ROUNDING), last, 0.0)
    back = own.original(key, inner)
    unit = np.sqrt(own.moments[key].var + own.epsilon)
    slack = (_slack(agent, own, inner) * unit).reshape(len(back), -1)
    beyond = excess(back, box, slack)
    if beyond > 0.0 and excess(own.moments[key].mean[None], box) == 0.0:
        yield (
            "the VecNormalize statistics do not fit the agent",
            "they turn the last observation back into one that lies outside of the observation "
            f"space by {beyond:.3g}",
        )


def _slack(agent: Normalised, own: Statistics, seen: NDArray[Any]) -> NDArray[Any]:
    """Return how far from what the agent saw later statistics may be, in standard deviations.

    Of n observations in between, each at most `FAR` away, the mean moves by n ÷ count times that,
    and the variance by n ÷ count times its square.
    """
    between = max(_STEPS_BETWEEN * agent.environments, abs(own.count - agent.steps))
    share = between / max(own.count, 1.0)
    size = np.abs(seen)
    slack = share * (FAR + size * (1.0 + FAR**2) / 2.0) + _ROUNDING * (1.0 + size)
    return np.asarray(slack, np.float64)


RULE = Rule(
    code="SD802",
    name="normalisation-mismatch",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(Normalised, check),),
)
