"""Rewards whose scale changes within the buffer, or is out of all proportion.

## What it does
Compares the rewards of 64 parts of the buffer in order of time, without those that are 0: their
10th, 50th and 90th percentile and the largest, without sign. A place is reported from which on the
two largest are 30 times as large, or as small, the median 10 times and the lowest 3 times, in the
median over all parts behind it and before it, and a third of that between the four parts on either
side. The largest reward of all must change as much, and four episodes of each environment end on
either side. An agent that learns, or meets its goal for the first time, changes some of this alone.
A root mean square of all rewards above 10,000 is reported, too. A warning.

## Why is this bad
One critic cannot fit values of two scales: the larger ones set the loss, the smaller ones are noise
in it. Q is about r ÷ (1 − γ): rewards of 10,000 ask for a million.
from outputs that begin around 0 and move by the learning rate per update.

## Example
`reward_scale` changed from 1 to 100 before a run was resumed with its old buffer.

## Use instead
Train anew, or resume without the buffer, after rewards changed. Scale them to about 1:
`VecNormalize(norm_reward=True)` does that when transitions are sampled, so the buffer stays valid.

## Fix safety
No fix: which of the scales is meant is not known.

## References
- Henderson et al. 2018, "Deep Reinforcement Learning that Matters": reward scale
- van Hasselt et al. 2016, "Learning values across many orders of magnitude"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.buffer_facts import StoredTransitions
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

JUMP = 30.0
"""A judgement: units differ by 100 and 1,000."""
LARGE = 1e4
"""Root mean square."""


def check(stored: StoredTransitions) -> Iterator[Finding]:
    """Yield a finding where the rewards' scale jumps, or else is huge."""
    jump = stored.jump
    if jump is not None and jump.ratio >= JUMP:
        yield RULE.finding(
            Severity.WARNING,
            "the rewards' scale changes within the buffer",
            evidence=(
                f"from about row {jump.row:,} on nine of ten rewards are within {jump.after:.3g}, "
                f"before within {jump.before:.3g}, without sign and zeros; all others change, too"
            ),
            remedy=(
                "Find what changed there (a resumed run with other settings?), and train anew, or "
                "resume without this buffer."
            ),
        )
    elif stored.size > LARGE:
        yield RULE.finding(
            Severity.WARNING,
            "the rewards are far too large for a critic",
            evidence=f"their root mean square is {stored.size:.3g}",
            remedy="Scale them to about 1: VecNormalize(norm_reward=True); then train anew.",
        )


RULE = Rule(
    code="SD907",
    name="reward-scale",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(StoredTransitions, check),),
)
