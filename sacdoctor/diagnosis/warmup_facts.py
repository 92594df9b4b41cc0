"""Everything about a warm-up with forced actions that rules look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from sacdoctor.diagnosis.update_counters import UpdateCounters
    from sacdoctor.replay.forced_head import ForcedHead
    from sacdoctor.settings.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class ForcedTransitions:
    """The transitions at the head of a replay buffer whose actions were forced.

    `share`: of all that are stored, 0 to 1. `updated`: the model has been updated.
    """

    in_words: ClassVar[str] = "a replay buffer"

    head: ForcedHead
    share: float
    updated: bool


@dataclass(frozen=True, slots=True)
class Warmup:
    """How long actions were forced, and what was learned from them.

    `steps`: the timestep at which they ended, or how many are stored where that is not known.
    `updates` came before it, by the checkpoint's `counters`; None where they do not say.
    """

    in_words: ClassVar[str] = "a replay buffer with its checkpoint"

    steps: int
    updates: int | None
    counters: UpdateCounters | None


@dataclass(frozen=True, slots=True)
class JudgedSetting:
    """A setting in a file that must change: its dotted path there, and why."""

    in_words: ClassVar[str] = "a settings file"

    key: str
    verdict: Verdict
