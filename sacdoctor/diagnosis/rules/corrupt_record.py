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

from sacdoctor.errors import SacdoctorError
from sacdoctor.model import Finding
from sacdoctor.severity import Severity

CODE = "SD701"
NAME = "corrupt-record"


def finding(error: SacdoctorError) -> Finding:
    """Return the finding about a file that contradicts itself."""
    return Finding(
        CODE,
        NAME,
        Severity.CRITICAL,
        (),
        "the file is damaged",
        error.reason,
        "Use an earlier checkpoint, or copy the file again from where it came from.",
    )
