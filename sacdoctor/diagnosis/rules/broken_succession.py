"""Next observations that are not what was observed next.

## What it does
Compares each next observation with the observation of the following row of the same environment,
where no episode ends. They are one and the same in a buffer that is filled in order of time: SB3
keeps terminal observations apart from those after a reset. Where 5 % of the rows or more differ by
over a hundredth of a standard deviation, it reports them. Not reported are breaks that follow one
another at one distance, as where episodes are cut and only terminal states are stored as done;
next observations of a later row (n-step returns, environments stored in turn); and buffers that are
not SB3's in which nothing follows, as they may be shuffled. Of more than 24 MiB of observations,
blocks of neighbouring rows are compared, spread evenly.

## Why is this bad
A target is r + γ Q(s', a'). Where s' is from elsewhere, the critic learns the value of a state that
never followed, and what an action leads to cannot be learned.

## Example
A wrapper that returns a cached observation; a buffer of one's own whose index for next observations
runs ahead by one after it wrapped.

## Use instead
Store what `env.step` returned, copied, and `info["terminal_observation"]` where a vectorised
environment was reset. Then train anew.

## Fix safety
No fix: what followed is known only where the next row has it.

## References
- SB3: `_store_transition` in stable_baselines3/common/off_policy_algorithm.py
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.buffer_facts import StoredTransitions, listed
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

SHARE, FEWEST = 0.05, 20
"""Share of the rows, and their number. Resumed runs, and episodes that are cut now and then, leave
fewer."""


def check(stored: StoredTransitions) -> Iterator[Finding]:
    """Yield a finding where the next observation is often not that of the next row."""
    found = stored.succession
    number = found.broken.number
    if not is_often(number, found.compared) or found.is_explained:
        return
    yield RULE.finding(
        Severity.WARNING,
        f"{100 * number / found.compared:.3g} % of the next observations are not what was observed "
        "next",
        evidence=(
            f"{number:,} of {found.compared:,} transitions that were compared and end no episode "
            f"have another next observation than the next row; {listed(found.broken)}"
        ),
        remedy=(
            "Store what `env.step` returned, copied, before the environment writes into it again; "
            "then train anew with a fresh buffer."
        ),
    )


def is_often(number: int, compared: int) -> bool:
    """Return whether so many breaks are more than resumed runs and cut episodes leave."""
    return number >= max(FEWEST, SHARE * compared)


RULE = Rule(
    code="SD902",
    name="broken-succession",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(StoredTransitions, check),),
    bars_refit=True,
)
