"""A file that contradicts itself.

## What it does
Reports a checkpoint in which a checksum, a size, an offset or a count does not hold: in the zip, in
one of the zips inside it, or in a pickle. Nothing else can be said about such a file.

## Why is this bad
It was damaged after it was written, or never written to its end. What loads may be wrong in ways
that nobody notices.

## Example
A run that was killed while it saved, a full disk, a broken download, a flipped bit.

## Use instead
An earlier checkpoint. Write to a temporary name and rename, as
`model.save("tmp"); os.replace("tmp.zip", "model.zip")`.

## Fix safety
No fix.

## References
- PKWARE, APPNOTE.TXT, section 4.4.7: CRC-32
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.errors import CorruptCheckpoint
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def check(error: CorruptCheckpoint) -> Iterator[Finding]:
    """Yield the finding about a file that contradicts itself."""
    yield RULE.finding(
        Severity.CRITICAL,
        "the file is damaged",
        evidence=error.reason,
        remedy="Use an earlier checkpoint, or copy the file again from where it came from.",
    )


RULE = Rule(
    code="SD701",
    name="corrupt-record",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(CorruptCheckpoint, check),),
)
