"""A replay buffer that lacks transitions which the agent has had.

## What it does
`sacdoctor history` opens the replay buffer beside the last checkpoint that has one, by the names
that SB3 and rl-zoo give them, and counts its transitions. There must be one for every timestep of
the training, as far as the buffer has room. It reports one that holds fewer than nine of ten;
warning where more than half are missing, else notice. A checkpoint without any buffer is not spoken
of: most are saved so.

## Why is this bad
An off-policy critic is as good as what it is updated from. Resumed without its transitions, it is
updated again and again from the few that came since, and forgets what the others taught.

## Example
`SAC.load("model", env=env)` and `learn(100_000, reset_num_timesteps=False)`: after 499 more steps
the buffer holds 499 of 2,000.

## Use instead
`model.save_replay_buffer("buffer")` with each checkpoint
(`CheckpointCallback(save_replay_buffer=True)`), and `model.load_replay_buffer("buffer")` before
`learn`. Without one, a high `learning_starts` lets the buffer fill before the first update.

## Fix safety
No fix: what was not saved is gone. A buffer that `warmup --clean` has shortened is meant to be so.

## References
- stable_baselines3/common/off_policy_algorithm.py: `load_replay_buffer`
- stable_baselines3/common/callbacks.py: `CheckpointCallback(save_replay_buffer=True)`
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.run_facts import RunFacts
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

LEAST = 0.9
"""Of the transitions that must be there: what resets and callbacks leave out is a step or two."""
MOST_MISSING = 0.5
"""Where more are missing, most of what the agent learned from is no longer there."""
_STEPS = 2
"""Of all environments: a callback saves the checkpoint before SB3 stores its last step."""


def check(run: RunFacts) -> Iterator[Finding]:
    """Yield the finding about the buffer beside the last checkpoint that has one."""
    stored = run.stored
    if stored is None:
        return
    due = min(stored.steps, stored.room)
    if stored.transitions >= LEAST * due - _STEPS * stored.environments:
        return
    missing = 1.0 - stored.transitions / due
    yield RULE.finding(
        Severity.WARNING if missing > MOST_MISSING else Severity.NOTICE,
        f"the replay buffer lacks {due - stored.transitions:,} of {due:,} transitions",
        evidence=f"{stored.name} holds {stored.transitions:,} with room for {stored.room:,}, after "
        f"{stored.steps:,} steps",
        remedy="Load the buffer before training on (`model.load_replay_buffer(PATH)`), and save it "
        "with each checkpoint: `CheckpointCallback(save_replay_buffer=True)`.",
    )


RULE = Rule(
    code="SD803",
    name="buffer-missing",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(RunFacts, check),),
)
