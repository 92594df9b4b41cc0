"""What the parts of one file may take together, however they are read and by whom."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from sacdoctor.archive import Budget
from sacdoctor.errors import CorruptCheckpoint
from sacdoctor.pickles import WalkBudget

EXPANSION_FLOOR = 16 * 1024**2
"""Bytes that the deflated members of a small checkpoint may expand to. SB3 and torch deflate
nothing, and weights that somebody zipped again are a tenth smaller at best; a repair takes up to
fourteen times the bytes of a tensor that it fills."""
MOST_TENSORS, BYTES_PER_TENSOR = 10_000, 64
"""Tensors that a file may always name, and beyond: one for so many of its bytes. Each takes 250 in
torch's zip, and as many in what is said about it."""
MOST_LETTERS = 1024**2
"""Characters that their names may always have together; beyond, as many as the file has bytes."""


class Limits(Struct, frozen=True):
    """What a file may still take: for the walks over its pickles, and for inflated members.

    `size` is that of the file, in bytes.
    """

    walks: WalkBudget
    expansion: Budget
    size: int = 0

    @classmethod
    def of(cls, file_size: int) -> Limits:
        """Return the limits of a file of so many bytes."""
        expansion = Budget.of(file_size, EXPANSION_FLOOR)
        return cls(WalkBudget.of(file_size), expansion, file_size)

    @classmethod
    def of_buffer(cls, file_size: int) -> Limits:
        """Return those of a file that is one pickle, such as a replay buffer."""
        return cls(WalkBudget.of_buffer(file_size), Budget.of(file_size), file_size)

    def refuse_names_without_end(self, names: Collection[str]) -> None:
        """Raise `CorruptCheckpoint` where so many tensors, or such long names, make no sense.

        Everything that is said of a file is said of each of its tensors, by its name.
        """
        if len(names) > max(MOST_TENSORS, self.size // BYTES_PER_TENSOR):
            raise CorruptCheckpoint(f"it names {len(names):,} tensors, more than it has room for")
        letters = sum(map(len, names))
        if letters > max(MOST_LETTERS, self.size):
            raise CorruptCheckpoint(
                f"the names of its tensors have {letters:,} characters, more than it has bytes"
            )
