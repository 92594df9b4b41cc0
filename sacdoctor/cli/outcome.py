"""Exit codes and messages on stderr: the part of the contract that all verbs share."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

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
    """Write one line to stderr. What opens an address on the command line does not stand in it."""
    sys.stderr.write(f"sacdoctor: {printable(_without_credentials(str(message)))}\n")


def _without_credentials(text: str) -> str:
    """Return a text in which addresses of the command line are as they may be shown.

    Who asks for what is no option, or gives an address where none is taken, is told so with it.
    """
    for word in sys.argv[1:]:
        address = word.partition("=")[2] if word.startswith("-") else word
        if "://" in address:
            from sacdoctor.fleet import without_credentials

            shown = without_credentials(address)
            if shown != address:
                for written in (address, str(Path(address)), address.upper()):
                    text = text.replace(written, shown)
    return text
