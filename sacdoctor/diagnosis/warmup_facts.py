"""Everything about a warm-up with forced actions that rules look at.

Named tuples: every scan imports them, and as dataclasses they would take it 0.4 ms each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sacdoctor.diagnosis.update_counters import UpdateCounters
    from sacdoctor.replay import ForcedHead
    from sacdoctor.settings import Verdict


class ForcedTransitions(NamedTuple):
    """The transitions at the head of a replay buffer whose actions were forced.

    `share`: of all that are stored, 0 to 1. `updated`: the model has been updated. `ending`: that
    of the buffer's file. `is_sb3s`: SB3 filled it.
    """

    head: ForcedHead
    share: float
    updated: bool
    ending: str
    is_sb3s: bool

    @classmethod
    def in_words(cls) -> str:
        return "a replay buffer"


class Warmup(NamedTuple):
    """How long actions were forced, and what was learned from them.

    `steps`: the timestep at which they ended, or how many are stored where that is not known.
    `updates` came before it, by the checkpoint's `counters`; None where they do not say. `ending`:
    that of the buffer's file.
    """

    steps: int
    updates: int | None
    counters: UpdateCounters | None
    ending: str

    @classmethod
    def in_words(cls) -> str:
        return "a replay buffer with its checkpoint"


class JudgedSetting(NamedTuple):
    """A setting in a file that must change: its dotted path there, and why."""

    key: str
    verdict: Verdict

    @classmethod
    def in_words(cls) -> str:
        return "a settings file"
