"""Values that the critic gives and no rewards could ever add up to.

## What it does
`sacdoctor history` compares what SB3 logs of the critic with the returns in Monitor's log: the
mean Q-value (`train/actor_loss` of SAC, TQC, CrossQ, TD3, DDPG), or half of its typical error
(`train/loss` of DQN, the root of `train/value_loss` of PPO and its like). It reports a critic that
is, in the last row and in most of the last ten, beyond 10 times what the rewards allow. That is
r ÷ (1 − gamma); for r it takes the largest return of a whole episode, or 10, to which
`VecNormalize` clips what it scales, and for SAC's kind the most that entropy can add besides.

`sacdoctor probe` compares the critic's mean value without sign with the largest reward in the
replay buffer, as `VecNormalize` scales it, and the largest entropy bonus of the policy, divided by
1 − gamma. It reports values beyond 5 times that, where the buffer holds every step of the training,
and elsewhere 100 times: then the largest reward may have been another.

## Why is this bad
A Q-value is a discounted sum of rewards, so that rewards bound it. Beyond the bound the critic does
not estimate anything: its errors feed on its own targets, and the policy follows them.

## Example
DQN with `target_update_interval=1` at a high rate: the loss grows to 3e10 beside returns of 50.

## Use instead
A target network that follows slowly, a lower learning rate, rewards of a size around 1, gradient
clipping. Go back to a checkpoint from before: this critic has to be trained anew.

## Fix safety
No fix.

## References
- Sutton and Barto 2018, "Reinforcement Learning", section 11.3: the deadly triad
- van Hasselt et al. 2018, "Deep Reinforcement Learning and the Deadly Triad": values beyond
  r_max ÷ (1 − γ) are divergence
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite

import numpy as np

from sacdoctor.diagnosis.activity_facts import Activity
from sacdoctor.diagnosis.log_facts import LogFacts, Points
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

BEYOND = 10.0
"""Rewards of both signs cancel within an episode, and a wrapper around Monitor may scale them."""
BEYOND_ALL = 5.0
"""Where all rewards are known. Their sum bounds every value; young critics of DQN overshoot."""
BEYOND_SOME = 100.0
"""Where the rewards are those of some steps: the largest may come once in an episode."""
ROWS = 10
"""The last rows, of which most have to show it. Unstable learners overshoot, and come back."""
_REMEDY = (
    "Go back to a checkpoint from before. Lower the learning rate, let targets follow slowly, "
    "scale the rewards to about 1, clip the gradients."
)
_SIGNS: tuple[tuple[str, str, frozenset[str], Callable[[Points], Points]], ...] = (
    (
        "train/actor_loss",
        "the mean Q-value",
        frozenset(("SAC", "TQC", "CrossQ", "TD3", "DDPG")),
        lambda points: points._replace(values=np.abs(points.values)),
    ),
    (
        "train/loss",
        "the error of Q-values",
        frozenset(("DQN",)),
        lambda points: points._replace(values=points.values / 2.0),
    ),
    (
        "train/value_loss",
        "the error of values",
        frozenset(("PPO", "A2C", "TRPO", "MaskablePPO", "RecurrentPPO")),
        lambda points: points._replace(values=np.sqrt(np.maximum(points.values, 0.0)) / 2.0),
    ),
)
"""A series, what it tells, of which algorithms, and a size that some |value| must have had: where
an error is twice that, the value or its target has it. DQN's Huber loss is the error, beyond 1."""


def check(log: LogFacts) -> Iterator[Finding]:
    """Yield a finding where the critic's values are beyond all that rewards add up to."""
    if log.largest_value is None or not isfinite(log.largest_value):
        return
    limit = BEYOND * log.largest_value
    for name, what, algorithms, size_of in _SIGNS:
        if log.algorithm not in algorithms or name not in log.series:
            continue
        sizes = size_of(log.series[name])
        late = sizes.values[-ROWS:]
        if not len(late) or not late[-1] > limit or 2 * np.sum(late > limit) <= len(late):
            continue
        since = int(sizes.timesteps[int(np.argmax(sizes.values > limit))])
        yield RULE.finding(
            Severity.CRITICAL,
            "the critic's values are larger than any sum of rewards",
            evidence=f"by {what} ({name}) they are {float(late[-1]):.3g} at the end; the rewards "
            f"allow {log.largest_value:.3g}. Beyond {BEYOND:g} times that since step {since:,}",
            remedy=_REMEDY,
        )
        return


def check_activity(activity: Activity) -> Iterator[Finding]:
    """Yield a finding where a critic at work is beyond all that rewards add up to."""
    if not activity.knows_rewards:
        return
    limit = BEYOND_ALL if activity.knows_largest else BEYOND_SOME
    for network in activity.networks:
        values = network.values
        if values is None or not values.largest or not values.size > limit * values.largest:
            continue
        yield RULE.finding(
            Severity.CRITICAL,
            "the critic's values are larger than any sum of rewards",
            evidence=f"{network.name}: {values.size:.3g} in the mean on "
            f"{activity.observations:,} observations; the rewards allow {values.largest:.3g}",
            remedy=_REMEDY,
        )


RULE = Rule(
    code="SD305",
    name="value-out-of-bounds",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(LogFacts, check), Check(Activity, check_activity)),
)
