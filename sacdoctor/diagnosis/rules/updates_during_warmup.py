"""Updates that used forced actions alone.

## What it does
Counts the updates that came before the forced actions at the head of the replay buffer ended
(`sacdoctor warmup`): up to then the buffer held nothing else. The count follows SB3's loop from the
checkpoint's counters, and is given only where the loop arrives at the checkpoint's own number of
updates. In a settings file: `learning_starts` below `no_trading_warmup_steps`. Warning; critical
where over half of all updates were of that kind.

## Why is this bad
The critics learn the value of actions that were never carried out, and the actor follows the
critics. In `benchmarks/warmup.py` TD3 came out of such a warm-up losing money; SAC did not, which
is why a few such updates are a warning.

## Example
`SAC(..., learning_starts=100)` with an environment that forces its first 5,000 actions: 4,900
updates.

## Use instead
`learning_starts` not below the warm-up, or `WarmupGuard`, which holds updates back.

## Fix safety
Settings can be corrected by `sacdoctor fix-config`; what was learned stays in the weights.

## References
- stable_baselines3/common/off_policy_algorithm.py: `learn`
- Ranges and their sources: `sacdoctor/settings/ranges.py`
"""

from __future__ import annotations

from sacdoctor.model import Finding
from sacdoctor.settings.verdicts import Verdict
from sacdoctor.severity import Severity

CODE = "SD501"
NAME = "updates-during-warmup"

MOST = 0.5
"""Share of all updates above which most of what was learned came from forced actions."""


def finding(updates: int, of: int, learning_starts: int, warmup: int) -> Finding:
    """Return the finding about `updates` `of` all that were made before timestep `warmup`."""
    return Finding(
        CODE,
        NAME,
        Severity.CRITICAL if updates > MOST * of else Severity.WARNING,
        (),
        f"{updates:,} of {of:,} updates used forced actions alone",
        f"updates began after {learning_starts:,} steps (learning_starts), actions were forced "
        f"until step {warmup:,}",
        f"Set learning_starts to {warmup:,}: `sacdoctor fix-config MODEL.zip --warmup-steps "
        f"{warmup}`; in training, WarmupGuard holds updates back.",
    )


def finding_in_settings(verdict: Verdict, key: str) -> Finding:
    """Return the finding about settings (at `key`) that let updates begin too early."""
    return Finding(
        CODE,
        NAME,
        verdict.severity,
        (),
        f"{key} lets updates begin during the warm-up",
        verdict.message,
        "`sacdoctor fix-config FILE --write` corrects it.",
    )
