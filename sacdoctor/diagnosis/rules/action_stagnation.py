"""A policy that does the same whatever it sees, and tries nothing else.

## What it does
`sacdoctor probe` sets the policy to work on observations. It reports one

- whose likeliest choice is the same on 99 % of the observations, with a mean probability of 98 %
  and more, or without any chance of another (DQN with epsilon at 0);
- whose action, in each of its numbers, is at the same bound on 99 % of the observations, or does
  not vary by 1 % of half of its range, with an exploration as small as that.

One and the same best action is no fault by itself: early in training it is the rule, and
exploration finds a way out.

## Why is this bad
What is never tried is never learned. A likelihood of 1 and a squashed action at its bound have no
gradient, so that the policy stays as it is.

## Example
An agent that holds its position for ever: a trading policy after rewards that punish each trade.

## Use instead
Reward entropy (`ent_coef`), keep epsilon above 0, scale observations and rewards, and lower the
learning rate: policies that stand still have mostly taken one step that was far too long.

## Fix safety
No fix: go back to a checkpoint from before.

## References
- Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning": entropy keeps a policy
  from converging too early
- Stable-Baselines3 issues on "always the same action", most of them unscaled observations
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.activity_facts import NEARLY_ALL, ActionActivity, Activity
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

CERTAIN = 0.98
"""A mean probability; at 0.986 the agents of public reports stood still."""
STILL = 0.01
"""Of half of an action's range: less than any actuator, or any exploration, tells apart."""


def check(activity: Activity) -> Iterator[Finding]:
    """Yield a finding for the policy that stands still."""
    for network in activity.networks:
        actions = network.actions
        if not network.is_policy or actions is None or not activity.updates:
            continue
        evidence = _standing_choice(actions) or _standing_numbers(actions)
        if evidence is not None:
            yield RULE.finding(
                Severity.CRITICAL,
                "the policy does the same whatever it sees, and tries nothing else",
                evidence=evidence,
                remedy=(
                    "Go back to a checkpoint from before. Scale the observations, keep exploration "
                    "up (ent_coef, epsilon), lower the learning rate."
                ),
            )


def _standing_choice(actions: ActionActivity) -> str | None:
    if actions.commonest is None or actions.commonest < NEARLY_ALL:
        return None
    said = f"one choice is the best on {100 * actions.commonest:.4g} % of the observations"
    if actions.likeliest is not None and actions.likeliest >= CERTAIN:
        return f"{said}, with a mean probability of {actions.likeliest:.4g}"
    if actions.random is not None and actions.random < STILL:
        return f"{said}, and another is tried on {100 * actions.random:.3g} % of the steps"
    return None


def _standing_numbers(actions: ActionActivity) -> str | None:
    if not actions.spread:
        return None
    at_bound = all(max(at) >= NEARLY_ALL for at in zip(actions.lower, actions.upper, strict=True))
    is_still = max(actions.spread) < STILL
    explores = actions.deviation is not None and actions.deviation >= STILL
    if at_bound and (not explores or (actions.flat or 0.0) >= NEARLY_ALL):
        return "every number of the action is at the same bound on 99 % of the observations"
    if is_still and actions.deviation is not None and not explores:
        return (
            f"the action varies by {max(actions.spread):.2g} of half of its range at most, and "
            f"exploration by {actions.deviation:.2g}"
        )
    return None


RULE = Rule(
    code="SD508",
    name="action-stagnation",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(Activity, check),),
    explains=(Symptom("exploration-collapse"),),
)
