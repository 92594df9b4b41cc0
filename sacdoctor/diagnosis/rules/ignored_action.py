"""Outcomes that do not follow from the stored action.

## What it does
Takes up to 1,500 transitions of a replay buffer whose observations are floats, 24 numbers at most,
and reports

- that transitions with nearly the same observation and action lead to rewards and next
  observations as different as those of any two (nine tenths and more, in every number that varies);
- that next observations or rewards follow from the action of the row before (it explains half or
  more of what the observation leaves open), and not from their own.

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


RULE = Rule(
    code="SD904",
    name="ignored-action",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(StoredTransitions, check),),
    bars_refit=True,
)
