"""Target networks whose biases are zero while the online network's are not.

## What it does
Reports biases of a target network (`critic_target`, `actor_target`, `q_net_target`,
`quantile_net_target`; in files of your own also `target_critic` and its like) that are zero where
the online network's are not. In a file of your own it is a notice in the table alone where the
whole target may still be as it was made: all its biases 0, no weight beyond its initialiser's
range.

## Why is this bad
The targets of every update come from a network that is not a delayed copy of the online one. With
Polyak averaging it creeps back over thousands of steps; with hard updates it stays wrong until the
next one. Custom layers that start at zero show this legitimately before the first hard update.

## Example
A state dict loaded with `strict=False` whose names for the target did not match.

## Use instead
`sacdoctor fix` copies the online values; in code:
`model.critic_target.load_state_dict(model.critic.state_dict())`.

## Fix safety
Safe: the online values are where the target is heading anyway.

## References
- Lillicrap et al. 2016, "Continuous control with deep reinforcement learning": soft target updates
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.wording import cause_finding
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity


def check(examination: Examination) -> Iterator[Finding]:
    """Yield one finding over all target biases that alone are zero."""
    yield from cause_finding(
        RULE,
        examination,
        Cause.TARGET_OUT_OF_SYNC,
        "zero while the online network's are not",
        "`sacdoctor fix` copies the online values into the target network.",
    )


RULE = Rule(
    code="SD206",
    name="target-out-of-sync",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Examination, check),),
    cured_by=("fix",),
    needs_optimizers=True,
    about_zeros=True,
)
