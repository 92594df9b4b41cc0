"""Episodes that are cut by a limit of steps, and stored as if their task had ended.

## What it does
Looks at the lengths of whole episodes. If 95 of 100 have one and the same length below 100 steps,
all are stored as done, none as a timeout, and no number of the observation tells the agent that the
end is near, that is a warning. Where the buffer was told not to keep timeouts
(`handle_timeout_termination=False`), three episodes of below 1,000 steps are enough. It is a notice
where it keeps no next observations (`optimize_memory_usage`), as SB3 cannot tell timeouts apart
there.

## Why is this bad
The target of a terminal state is its reward alone, r instead of r + γ Q(s'). A limit of steps may
cut anywhere: the same state is worth nothing once, and everything the other time, and the agent
cannot see which. With γ = 0.99 rewards count for some 100 steps, 1 ÷ (1 − γ): of a shorter episode
every state's value is cut.

## Example
An environment that returns `terminated=True` after 12 steps.

## Use instead
Return `truncated=True` there, or let `gymnasium.wrappers.TimeLimit` do it, with
`handle_timeout_termination` as SB3 sets it. If the task does end then, put the time that is left
into the observation. Then train anew.

## Fix safety
No fix: which ends are the limit's, only the environment knows.

## References
- Pardo et al. 2018, "Time Limits in Reinforcement Learning"
- SB3: `handle_timeout_termination` in stable_baselines3/common/buffers.py
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.buffer_facts import StoredTransitions
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

SAME, FEWEST = 0.95, 10
"""Share of the episodes with one length, and the fewest of them."""
LONG = 100
"""Steps, 1 ÷ (1 − 0.99), from which on most values hardly feel the cut."""
FEWEST_TOLD, LONG_TOLD = 3, 10 * LONG
"""The same where the buffer says itself that it drops timeouts: a tenth of the values feels it."""


def check(stored: StoredTransitions) -> Iterator[Finding]:
    """Yield a finding where all episodes end at one step, as if their task had."""
    episodes = stored.episodes
    if episodes is None or episodes.timeouts or episodes.tells_time:
        return
    whole = sum(episodes.lengths.values())
    length, number = max(episodes.lengths.items(), key=lambda item: item[1], default=(0, 0))
    told = not episodes.keeps_timeouts and not stored.shares  # there SB3 asks for it
    fewest, long = (FEWEST_TOLD, LONG_TOLD) if told else (FEWEST, LONG)
    if number < max(fewest, SAME * whole) or not 1 < length < long:
        return
    yield RULE.finding(
        Severity.NOTICE if stored.shares else Severity.WARNING,
        f"episodes are cut after {length} steps and stored as terminal",
        evidence=(
            f"{number:,} of {whole:,} whole episodes have {length} steps; all ends are stored as "
            "done, none as a timeout" + (", as handle_timeout_termination is False" if told else "")
        ),
        remedy=(
            "Leave handle_timeout_termination at SB3's True; then train anew."
            if told
            else "Return truncated=True where a limit of steps ends an episode "
            "(`gymnasium.wrappers.TimeLimit`), or observe the time that is left; then train anew."
        ),
    )


RULE = Rule(
    code="SD908",
    name="timeouts-as-terminals",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(StoredTransitions, check),),
)
