"""NaN or infinite numbers in a replay buffer.

## What it does
Looks at every observation, action, reward and flag that is stored, and reports the arrays in which
a number is NaN or infinite, with the index of the first. Critical.

## Why is this bad
A batch that holds one such number has a loss that is NaN, and one update with it makes every weight
NaN. In a buffer of a million transitions and batches of 256 that happens within some 4,000 updates.

## Example
A reward that is a return divided by a variance of 0, once, in the first episode.

## Use instead
Find where the environment makes it: `VecCheckNan` raises at once. Then train anew: a buffer that is
loaded again kills the next agent, too.

## Fix safety
No fix: what the number should have been is not known.

## References
- SB3's guide "Dealing with NaNs and infs"
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.buffer_facts import NonFiniteArray, StoredTransitions
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(stored: StoredTransitions) -> Iterator[Finding]:
    """Yield one finding over all arrays with numbers that are not finite."""
    if not stored.non_finite:
        return
    total = sum(array.number for array in stored.non_finite)
    what = "number is" if total == 1 else "numbers are"
    yield RULE.finding(
        Severity.CRITICAL,
        f"{total:,} stored {what} NaN or infinite",
        evidence="; ".join(_where(array) for array in stored.non_finite),
        remedy=(
            "Find where the environment makes it (`VecCheckNan(venv)` raises at once), and train "
            "anew with a fresh buffer: one such number makes every weight NaN."
        ),
    )


def _where(array: NonFiniteArray) -> str:
    name, _, part = array.name.partition(".")
    place = (f"[{part!r}]" if part else "") + f"[{', '.join(map(str, array.first))}]"
    if array.number == 1:
        return f"{name}{place}"
    return f"{array.number:,} in {name}, the first at {place}"


RULE = Rule(
    code="SD901",
    name="non-finite-transitions",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(StoredTransitions, check),),
    comes_first=True,
)
