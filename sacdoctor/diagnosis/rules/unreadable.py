"""A file that cannot be read as a checkpoint.

## What it does
Reports a path that does not lead to a readable file, or a file that holds something that is not
read here: an encrypted zip, a compression method that SB3 does not write, a pickle that asks for
names that no state dict needs.

## Why is this bad
Nothing can be said about it. A pickle that asks for unknown names may run code when it is loaded.

## Example
`policy.pth` holds a whole pickled module instead of its state dict.

## Use instead
`torch.save(policy.state_dict(), path)`, or SB3's `model.save(path)`.

## Fix safety
No fix.

## References
- PyTorch docs, "Serialization semantics": saving and loading state dicts
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.errors import CorruptCheckpoint, SacdoctorError
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(error: SacdoctorError) -> Iterator[Finding]:
    """Yield the finding about a file that cannot be read, unless it is damaged."""
    if isinstance(error, CorruptCheckpoint):
        return
    yield RULE.finding(
        Severity.CRITICAL,
        "the file cannot be read as a checkpoint",
        evidence=error.reason,
        remedy=(
            "Check the path, and that the file was written by SB3's model.save() or is a state "
            "dict."
        ),
    )


RULE = Rule(
    code="SD702",
    name="unreadable",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(SacdoctorError, check),),
)
