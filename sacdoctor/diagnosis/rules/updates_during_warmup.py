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

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.diagnosis.warmup_facts import JudgedSetting, Warmup
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

MOST = 0.5
"""Share of all updates above which most of what was learned came from forced actions."""


def check(warmup: Warmup) -> Iterator[Finding]:
    """Yield a finding where updates were made before the forced actions ended."""
    updates, counters = warmup.updates, warmup.counters
    if not updates or counters is None:
        return
    of = counters.n_updates
    yield RULE.finding(
        Severity.CRITICAL if updates > MOST * of else Severity.WARNING,
        f"{updates:,} of {of:,} updates used forced actions alone",
        evidence=(
            f"updates began after {counters.learning_starts:,} steps (learning_starts), actions "
            f"were forced until step {warmup.steps:,}"
        ),
        remedy=(
            f"Set learning_starts to {warmup.steps:,}: `sacdoctor fix-config MODEL.zip "
            f"--warmup-steps {warmup.steps}`; in training, WarmupGuard holds updates back."
        ),
    )


def check_setting(setting: JudgedSetting) -> Iterator[Finding]:
    """Yield a finding where settings let updates begin too early."""
    if setting.verdict.key == "learning_starts":
        yield RULE.finding(
            setting.verdict.severity,
            f"{setting.key} lets updates begin during the warm-up",
            evidence=setting.verdict.message,
            remedy="`sacdoctor fix-config FILE --write` corrects it.",
        )


RULE = Rule(
    code="SD501",
    name="updates-during-warmup",
    doc=__doc__,
    severities=(Severity.CRITICAL, Severity.WARNING),
    checks=(Check(Warmup, check), Check(JudgedSetting, check_setting)),
    cured_by=("fix-config",),
)
