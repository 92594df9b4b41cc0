"""Next observations that are the observation itself.

## What it does
Counts the transitions, where no episode ends, whose next observation equals the observation in
every number. A warning are

- 5 % or more for which the next row has another observation: the environment did move on, and what
  is stored as next is the old one;
- 25 % or more for which it has not: the environment, or what observes it, stood still. Only where
  observations take many values: in a grid, one bumps into walls;
- all of them, where an observation has several numbers: with one alone it may stand for none.

`sacdoctor history` reports a last observation (`_last_obs`) that is the same, bit for bit, in three
checkpoints in a row and up to the last one, in the middle of episodes. That needs no buffer, which
on-policy algorithms have none of. Observations of whole numbers are not compared.

Actions at the head of the buffer that seem not to have been carried out because nothing is seen to
follow from them are not named beside it.

## Why is this bad
A transition that leads nowhere teaches that no action matters, and Q(s) = r + γ Q(s) that every
state is worth r ÷ (1 − γ).

## Example
A loop of one's own that forgets `obs = new_obs`. `next_state = state` where the environment writes
into one and the same array; a sensor, or a feed of prices, that delivers its last value again.

## Use instead
Copy observations where they are stored (`np.array(obs)`), and look at a few of them in turn while
the environment runs. Then train anew.

## Fix safety
No fix: what was not observed is not known.

## References
- Gymnasium, "Env.step": the observation is that of the next state
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from sacdoctor.diagnosis.buffer_facts import Rows, StoredTransitions, listed
from sacdoctor.diagnosis.rules.broken_succession import is_often
from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.diagnosis.run_facts import RunFacts
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

ALIASED, FEWEST = 0.05, 20
"""Share of rows that contradict the next one, and their number."""
CHECKPOINTS = 3
"""With the same last observation: by chance two may end in the same corner."""
STILL = 0.25
"""Share of rows in which all stood still. A judgement: healthy agents in continuous spaces, at
limits and against walls, kept below a tenth."""
MOST_OF_HEAD = 0.9
"""Share of the rows with forced actions: where they end is known to a tenth of them."""


def check(stored: StoredTransitions) -> Iterator[Finding]:
    """Yield a finding where many next observations are the observation itself."""
    found = stored.succession
    aliased, still = found.aliased.number, found.still.number
    if aliased >= max(FEWEST, ALIASED * found.compared):
        yield _finding(stored, found.aliased, "while the next row has another")
    elif (found.is_varied and still >= max(FEWEST, STILL * found.compared)) or (
        found.is_constant and still == found.compared >= FEWEST
    ):
        yield _finding(stored, found.still, "and so is that of the next row")


def check_run(run: RunFacts) -> Iterator[Finding]:
    """Yield a finding where the agent's observation is the same in the last checkpoints."""
    seen = {moment.steps: moment.seen for moment in run.moments if moment.seen is not None}
    steps = [*seen]
    same = [*takewhile(lambda at: seen[at] == seen[steps[-1]], reversed(steps))]
    if len(same) < CHECKPOINTS:
        return
    yield RULE.finding(
        Severity.WARNING,
        f"the last observation is the same in {len(same)} checkpoints",
        evidence=f"_last_obs is bit for bit the same from {same[-1]:,} to {same[0]:,} steps, in "
        "the middle of episodes",
        remedy=(
            "Print observations for some steps: does the environment return new ones, and does "
            "your loop hand them on (`obs = new_obs`)? Then train anew."
        ),
    )


def _finding(stored: StoredTransitions, rows: Rows, besides: str) -> Finding:
    compared = stored.succession.compared
    return RULE.finding(
        Severity.WARNING,
        f"{100 * rows.number / compared:.3g} % of the next observations are the observation itself",
        evidence=(
            f"in {rows.number:,} of {compared:,} transitions that were compared and end no episode "
            f"the next observation equals the observation, {besides}; {listed(rows)}"
        ),
        remedy=(
            "Copy observations where they are stored, and see that the environment gives a new one "
            "each step; then train anew with a fresh buffer."
        ),
    )


def _breaks_it(stored: StoredTransitions, _frozen: Finding, _other: Finding) -> bool:
    """Return whether next observations that are the observation are what breaks the succession."""
    found = stored.succession
    return not is_often(found.broken.number - found.aliased.number, found.compared)


def _hides_outcomes(stored: StoredTransitions, _frozen: Finding, _other: Finding) -> bool:
    """Return whether the actions at the head seem not to be carried out because nothing is seen.

    What does not change cannot show what an action did.
    """
    return stored.frozen_head >= MOST_OF_HEAD


RULE = Rule(
    code="SD903",
    name="frozen-observation",
    doc=__doc__,
    severities=(Severity.WARNING,),
    checks=(Check(StoredTransitions, check), Check(RunFacts, check_run)),
    explains=(
        Symptom("broken-succession", _breaks_it),
        Symptom("ignored-action"),
        Symptom("forced-actions", _hides_outcomes),
        Symptom("updates-during-warmup", _hides_outcomes),
        Symptom("long-warmup", _hides_outcomes),
    ),
)
