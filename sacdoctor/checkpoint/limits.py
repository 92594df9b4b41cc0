"""What the parts of one file may take together, however they are read and by whom."""

from __future__ import annotations

from dataclasses import dataclass

from sacdoctor.archive import Budget
from sacdoctor.pickles import WalkBudget


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may still take: for the walks over its pickles, and for inflated members."""

    walks: WalkBudget
    expansion: Budget

    @classmethod
    def of(cls, file_size: int) -> Limits:
        """Return the limits of a file of so many bytes."""
        return cls(WalkBudget.of(file_size), Budget.of(file_size))
