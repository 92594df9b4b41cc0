"""Actions at the head of a replay buffer that were forced on the agent.

## What it does
Looks at the oldest transitions of a replay buffer (`sacdoctor warmup`). Either one and the same
action is stored for them, exact to the step unless the agent may have gone on with it; or varied
actions are stored that the environment did not carry out, which shows in rewards and next
observations that do not depend on them at all, and later do. Warning; critical where such
transitions fill over half of the stored buffer and the model has been updated, because most of what
it then learns from is none of its doing.

## Why is this bad
SB3 stores the action that it sampled. Where the environment carried out another one, the transition
pairs an action with a reward and an observation that it did not cause. One constant action teaches
nothing about any other.

## Example
An environment with `no_trading_warmup_steps=5000` that holds no position whatever the agent says:
5,000 of the first 20,000 transitions.

## Use instead
`ExecutedActionReplayBuffer` with `ForcedActionWarmup`, which stores what was carried out; a short
warm-up; or none.

## Fix safety
Safe: `sacdoctor warmup --clean OUT.pkl` writes a buffer without these transitions.

## References
- stable_baselines3/common/off_policy_algorithm.py: `_sample_action`, `_store_transition`
- How the boundary is found: `sacdoctor/replay/ignored_actions.py`
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.warmup_facts import ForcedTransitions
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

MOST = 0.5
"""Share of the stored transitions above which most of what is sampled was forced."""
_SB3S = "ExecutedActionReplayBuffer stores what is carried out"
_OWN = "store the action that the environment carried out, not the one that was chosen"


def check(forced: ForcedTransitions) -> Iterator[Finding]:
    """Yield the finding about the forced head of a replay buffer."""
    head = forced.head
    kind = "one action" if head.stored == "constant" else "actions that were not carried out"
    yield RULE.finding(
        Severity.CRITICAL if forced.share > MOST and forced.updated else Severity.WARNING,
        f"the first {head.transitions:,} transitions store {kind}, {100 * forced.share:.1f} % of "
        "the buffer",
        evidence=head.evidence,
        remedy=(
            f"`sacdoctor warmup BUFFER --clean OUT{forced.ending}` writes the buffer without "
            f"them; {_SB3S if forced.is_sb3s else _OWN}."
        ),
    )


RULE = Rule(
    code="SD503",
    name="forced-actions",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(ForcedTransitions, check),),
    cured_by=("warmup --clean OUT.pkl",),
    bars_refit=True,
)
