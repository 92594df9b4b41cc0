"""A critic whose values do not follow from its rewards.

## What it does
`sacdoctor probe` works out, for transitions of a replay buffer or steps in an environment, what
the critic's values ought to be: reward plus discounted next value, with SAC's entropy. It reports a
critic of an off-policy algorithm

- whose values are away from that by a quarter of its mean size and more, and are correlated with
  it by less than 0.5;
- whose values less the discounted next ones, the rewards that it has learned, run against the
  rewards (correlation −0.8 or less);
- whose target network gives exactly its own values, though it is to follow slowly.

Before 500 updates it says nothing: a target that follows with `tau=0.005` takes some 200 to come
round.

Value networks of PPO and A2C are not judged: healthy ones are no better than that, and the policy
learns with advantages all the same.

## Why is this bad
The actor climbs what the critic says. If that does not follow from the rewards, it climbs noise, or
down the hill that it should climb. A target that moves with the critic lets errors feed themselves.

## Example
A loss that subtracts the reward; a wrapper that turns its sign in training alone; `tau=1.0`.

## Use instead
Compare the loss with the algorithm's paper, term by term. Let the target follow with `tau=0.005`.
A critic that was trained so has to be trained anew.

## Fix safety
No fix.

## References
- Sutton and Barto 2018, "Reinforcement Learning", section 11.4: the Bellman error
- Lillicrap et al. 2016, "Continuous control with deep reinforcement learning": targets that follow
  slowly
- Tambon et al. 2023, "Mutation Testing of Deep Reinforcement Learning Based on Real Faults":
  incorrect losses, reward signs
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.activity_facts import Activity, ValueActivity
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

AWAY = 0.25
"""Mean |value − target| of the mean |target|; at most 0.21 in healthy critics, a few hundred
updates old."""
FOLLOWS = 0.5
"""A correlation: a quarter of the variance."""
TURNED = -0.8
"""A correlation. Planted signs came to −0.98 and below, young critics of rare rewards to −0.6."""
LEAST_UPDATES = 500
SMALL_SHARE = 0.1
"""Of the deviation of what was learned: where rewards hardly vary beside it, their sign is
noise."""


def check(activity: Activity) -> Iterator[Finding]:
    """Yield a finding for what is wrong with the critic's values."""
    if not activity.replays or activity.updates < LEAST_UPDATES:
        return
    for network in activity.networks:
        values = network.values
        if values is None:
            continue
        found = _against_rewards(values) or _far_away(values, activity) or _equal(values, activity)
        if found is not None:
            message, evidence, remedy = found
            yield RULE.finding(Severity.CRITICAL, message, evidence=evidence, remedy=remedy)


def _against_rewards(values: ValueActivity) -> tuple[str, str, str] | None:
    learned, share = values.reward_correlation, values.reward_share
    if learned is None or share is None or learned > TURNED or share < SMALL_SHARE:
        return None
    return (
        "the critic has learned rewards of the other sign",
        "its values less the discounted next ones are correlated with the rewards by "
        f"{learned:.3g}",
        "Look where the sign is turned: in a wrapper, in the loss, or in the environment that the "
        "agent is looked at in. Then train anew.",
    )


def _far_away(values: ValueActivity, activity: Activity) -> tuple[str, str, str] | None:
    away, follows = values.residual, values.correlation
    if not activity.knows_rewards or away is None or away < AWAY:
        return None
    if follows is None or follows >= FOLLOWS:
        return None
    return (
        "the critic's values do not follow from the rewards and the values behind them",
        f"they are away from their targets by {100 * away:.3g} % of the targets' size, and are "
        f"correlated with them by {follows:.3g}",
        "Compare the critic's loss with the algorithm's paper, lower the learning rate, scale the "
        "rewards to about 1, and train anew.",
    )


def _equal(values: ValueActivity, activity: Activity) -> tuple[str, str, str] | None:
    if not values.equals_target or not activity.follows_slowly:
        return None
    return (
        "the target network is the critic itself",
        f"both give exactly the same values on {activity.observations:,} observations",
        "Let the target follow slowly (tau=0.005); look for a copy of the weights after each step.",
    )


RULE = Rule(
    code="SD306",
    name="bellman-residual",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Activity, check),),
)
