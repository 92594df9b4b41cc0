"""Says what a check found, for SB3's callback and for a loop of one's own alike."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from sacdoctor.training.manners import say
from sacdoctor.training.zeros import messages
from sacdoctor.training.zeros.checks import Check


class Log(Protocol):
    """Where figures go: SB3's logger, or anything with its method."""

    def record(self, key: str, value: Any) -> None:
        """Keep the latest value."""


def tell(check: Check, verbose: int) -> None:
    """Warn of what is new since the last check, and say what was repaired.

    `verbose` is 0 for warnings only, 1 for repairs as well, 2 for every check.
    """
    for finding in check.findings:
        level = messages.level(finding)
        shown = level >= logging.WARNING or verbose >= 2
        say(messages.line(check, finding), level, shown=shown)
    for line in messages.repairs(check, singly=verbose >= 2):
        say(line, shown=verbose >= 1)
    say(messages.state(check), shown=verbose >= 2)


def record(check: Check, elements_repaired: int, log: Log) -> None:
    """Hand a check's figures to a log; `elements_repaired` are those of the training so far."""
    worst = max((bias.zero_percent for bias in check.dead), default=0.0)
    log.record("sacdoctor/zero_percent", check.zero_percent)
    log.record("sacdoctor/dead_biases", len(check.dead))
    log.record("sacdoctor/worst_zero_percent", worst)
    log.record("sacdoctor/repaired", elements_repaired)


def must_stop(check: Check, stop: float) -> bool:
    """Return whether training should not go on after a check, and say why.

    `stop` is the percentage of zeros in a bias above which it should not.
    """
    reason = messages.reason_to_stop(check, stop)
    if reason is not None:
        say(f"training stops at {check.num_timesteps:,} steps: {reason}", logging.ERROR)
    return reason is not None
