"""Episodes that end where nothing ends.

## What it does
Looks at the flags that say where episodes end, and reports

- half of the transitions or more marked as done while the next row goes on from where the episode
  is said to have ended: the flag is wrong (warning);
- 95 % or more marked as done, where a few episodes are longer than one step (warning), or none is
  (notice: that is as it should be where each step stands alone, as in a bandit);
- not one transition of a buffer of SB3's marked as done, while the next row begins anew in twenty
  places or more, at no fixed distance (warning).

## Why is this bad
Where an episode ends, the target is the reward alone. If nearly all do, the agent learns to look no
further than one step, whatever its discount says. If none does, a failure costs nothing: its value
is that of a state like any other.

## Example
`done` stored as 1 − done; a limit for crashes that the starting state exceeds already.

## Use instead
Print `terminated` and `truncated` for some steps with random actions: an episode should end when
its task does. Then train anew.

## Fix safety
No fix: where episodes ended is not known.

## References
- Sutton and Barto, "Reinforcement Learning", section 3.3: the value of a terminal state is 0
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.buffer_facts import StoredTransitions, listed
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

FEWEST = 50
"""Transitions below which nothing is said."""
MANY, NEARLY_ALL = 0.5, 0.95
"""Shares of the transitions that are marked as done."""
FEWEST_BROKEN = 20
"""Rows that begin anew: each call of `learn()` leaves one."""
_REMEDY = (
    "Print terminated and truncated for some steps with random actions, and mend what says that "
    "an episode ends; then train anew with a fresh buffer."
)


def check(stored: StoredTransitions) -> Iterator[Finding]:
    """Yield a finding where nearly all transitions end an episode, or said ends are none."""
    episodes = stored.episodes
    if episodes is None or episodes.transitions < FEWEST:
        return
    broken = stored.succession.broken
    if not episodes.dones and stored.is_sb3s and broken.number >= FEWEST_BROKEN:
        if not stored.succession.is_explained:
            yield RULE.finding(
                Severity.WARNING,
                "no transition is marked as done, and episodes end",
                evidence=(
                    f"0 of {episodes.transitions:,} transitions are marked as done; "
                    f"{broken.number:,} are followed by a row that begins anew, {listed(broken)}"
                ),
                remedy=_REMEDY,
            )
        return
    share = episodes.dones / episodes.transitions
    continued = episodes.continued.number
    said = f"{episodes.dones:,} of {episodes.transitions:,} transitions are marked as done"
    is_varied = stored.succession.is_varied
    if share >= MANY and is_varied and continued >= 0.9 * episodes.resumable > 0:
        yield RULE.finding(
            Severity.WARNING,
            f"{100 * share:.4g} % of the transitions are marked as done, and episodes go on",
            evidence=(
                f"{said}; {continued:,} of {episodes.resumable:,} that were compared are followed "
                f"by a row that goes on from their next observation, {listed(episodes.continued)}"
            ),
            remedy=_REMEDY,
        )
    elif share >= NEARLY_ALL:
        always = episodes.dones == episodes.transitions
        yield RULE.finding(
            Severity.NOTICE if always else Severity.WARNING,
            "all episodes end at their first step"
            if always
            else f"{100 * share:.4g} % of the transitions end an episode",
            evidence=f"{said}, so targets are the reward alone",
            remedy=_REMEDY,
        )


RULE = Rule(
    code="SD905",
    name="odd-episodes",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(StoredTransitions, check),),
    explains=(Symptom("timeouts-as-terminals"), Symptom("broken-succession")),
)
