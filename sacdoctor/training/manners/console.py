"""One line per event, with the package's name before it, wherever Python's `logging` leads."""

from __future__ import annotations

import logging
import sys

LOGGER = logging.getLogger("sacdoctor")


def say(message: str, level: int = logging.INFO, *, shown: bool = True) -> None:
    """Log a message where somebody listens; else print it, with `sacdoctor: ` before it.

    Without a handler `logging` prints warnings bare and drops all else, so the line would come
    without a sender or not at all. Where there are handlers they alone decide on warnings; a line
    below that which nobody has asked `logging` for is printed if it is to be `shown`.
    """
    listened_to, enabled = LOGGER.hasHandlers(), LOGGER.isEnabledFor(level)
    if listened_to and enabled:
        LOGGER.log(level, "%s", message)
    elif level >= logging.WARNING:
        if enabled:
            print(f"sacdoctor: {message}", file=sys.stderr)
    elif shown:
        print(f"sacdoctor: {message}")
