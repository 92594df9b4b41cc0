"""A warm-up that lasts too long.

## What it does
Judges the length of the warm-up with forced actions: as found at the head of a replay buffer
(`sacdoctor warmup`), or as `no_trading_warmup_steps` says in a settings file. Above 10,000 steps it
is too long.

## Why is this bad
The replay buffer fills with actions that the agent never chose, and they stay in it for as long as
it takes to overwrite them.

## Example
`no_trading_warmup_steps: 20000`.

## Use instead
5,000 steps or less. In `benchmarks/warmup.py` no warm-up was worth it in itself.

## Fix safety
Settings can be corrected by `sacdoctor fix-config`; the transitions by `sacdoctor warmup --clean`.

## References
- Ranges and their sources: `sacdoctor/settings/ranges.py`
"""

from __future__ import annotations

from sacdoctor.model import Finding
from sacdoctor.settings.verdicts import Verdict

CODE = "SD502"
NAME = "long-warmup"


def finding(verdict: Verdict, steps: float, remedy: str) -> Finding:
    """Return the finding about a warm-up of `steps` that the verdict is about."""
    return Finding(
        CODE,
        NAME,
        verdict.severity,
        (),
        f"the warm-up lasts {steps:,.0f} steps",
        verdict.message,
        remedy,
    )
