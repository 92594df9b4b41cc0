"""Exit codes and messages on stderr: the part of the contract that all verbs share."""

from __future__ import annotations

import sys
from enum import StrEnum

from sacdoctor.printable import printable
from sacdoctor.severity import Status

CLEAN, FINDINGS, TROUBLE = 0, 1, 2


class FailOn(StrEnum):
    """From which status on a scan exits with 1."""

    CRITICAL = "critical"
    WARNING = "warning"
    NEVER = "never"


def exit_code(statuses: set[Status], fail_on: FailOn) -> int:
    """Return 2 if any status is `error`, 1 if any is at or above `fail_on`, else 0."""
    if Status.ERROR in statuses:
        return TROUBLE
    if fail_on is FailOn.NEVER:
        return CLEAN
    failing = {Status.CRITICAL} | ({Status.WARNING} if fail_on is FailOn.WARNING else set())
    return FINDINGS if statuses & failing else CLEAN


def complain(message: object) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"sacdoctor: {printable(str(message))}\n")
