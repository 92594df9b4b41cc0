"""Outcomes that do not follow from the stored action, and critics that do not heed it.

## What it does
Takes up to 1,500 transitions of a replay buffer whose observations are floats, 24 numbers at most,
and reports

- that transitions with nearly the same observation and action lead to rewards and next
  observations as different as those of any two (nine tenths and more, in every number that varies);
- that next observations or rewards follow from the action of the row before (it explains half or
  more of what the observation leaves open), and not from their own.

`sacdoctor probe` reports a critic whose values do not change with the action: going through half of
its range moves them by less than a ten-thousandth of their standard deviation. In a notice it says,
of 1,000 transitions and more, where what the action adds to the value has nothing to do with what
followed: a correlation below 0.15. Where the action matters at each step, that of critics a
thousand updates old is 0.5 and more. Where rewards are rare, nothing is said.

Worlds in which the action moves the reward alone, or next to nothing, are not reported: there the
next observation follows from the observation.

## Why is this bad
The critic is to learn what an action leads to. If what is stored beside it came of something else,
there is nothing to learn, and the policy climbs noise.

## Example
A wrapper that returns an observation from another step; an environment that carries out the action
of the last call; a queue of sensor readings that lags by one.

## Use instead
Take one action by hand in one state, several times, and print what `env.step` returns. Where a
delay is part of the task, put the last action into the observation.

## Fix safety
No fix: what the actions led to is not in the file.

## References
- Sutton and Barto, "Reinforcement Learning", section 3.1: the Markov property
- Tambon et al. 2023, "Mutation Testing of Deep Reinforcement Learning Based on Real Faults":
  mangled, random and repeated observations
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.activity_facts import Activity
from sacdoctor.diagnosis.buffer_facts import StoredTransitions
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(stored: StoredTransitions) -> Iterator[Finding]:
    """Yield a finding where outcomes are not those of the stored action."""
    found = stored.unrelated
    if found is None:
        return
    if found.follows_last:
        message = "next observations follow from the action of the step before"
        evidence = (
            f"of {found.looked_at:,} transitions that were compared: what observations leave open "
            "the row's own action does not explain, and that of the row before does"
        )
    else:
        message = "next observations have nothing to do with observation and action"
        evidence = (
            f"in {found.looked_at:,} transitions that were compared, those with nearly the same "
            f"observation and action have outcomes {100 * found.share:.0f} % as different as those "
            "of any two"
        )
    yield RULE.finding(
        Severity.WARNING,
        message,
        evidence=evidence,
        remedy=(
            "Take one action several times in one state and print what `env.step` returns; mend "
            "the wrapper that returns another step's, and train anew with a fresh buffer."
        ),
    )


FEWEST = 1000
"""Transitions, of which a correlation by chance is 0.03."""
FEWEST_UPDATES = 800
"""After 500 healthy critics of Pendulum come to 0.16 to 0.45, after 1,000 to 0.5 and more."""
BORNE_OUT = 0.15
OFTEN = 0.5
"""The deviation of rewards as a share of that of what was learned of them; rare ones are learned
slowly."""
NO_EFFECT = 1e-4
"""Of the values' standard deviation; at least 2e-2 in healthy critics."""


def check_activity(activity: Activity) -> Iterator[Finding]:
    """Yield a finding where a critic's values do not depend on the action, or not as they ought."""
    for network in activity.networks:
        values = network.values
        if values is None or values.action_effect is None or not activity.updates:
            continue
        if values.action_effect < NO_EFFECT:
            yield RULE.finding(
                Severity.WARNING,
                "the critic's values do not depend on the action",
                evidence=f"{network.name}: going through half of the action's range moves them by "
                f"{values.action_effect:.2g} of their standard deviation",
                remedy=(
                    "Look whether the critic is given the action, and whether `env.step` heeds it; "
                    "an actor that climbs such values climbs noise."
                ),
            )
        elif (
            values.action_correlation is not None
            and values.action_correlation < BORNE_OUT
            and (values.reward_share or 0.0) >= OFTEN
            and activity.observations >= FEWEST
            and activity.updates >= FEWEST_UPDATES
        ):
            yield RULE.finding(
                Severity.NOTICE,
                "what the action adds to the critic's values has nothing to do with what followed",
                evidence=f"{network.name}: a correlation of {values.action_correlation:.2g} with "
                f"what followed, in {activity.observations:,} transitions",
                remedy=(
                    "Look whether `env.step` carries out the action that is stored. Where single "
                    "actions hardly matter, all may be well."
                ),
            )


RULE = Rule(
    code="SD904",
    name="ignored-action",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(StoredTransitions, check), Check(Activity, check_activity)),
    bars_refit=True,
)
