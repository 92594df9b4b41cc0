"""How much work and memory all pickles of one file may take, counted by the machine."""

from __future__ import annotations

from dataclasses import dataclass

from sacdoctor.errors import CorruptCheckpoint

OPERATIONS = 1_000_000
"""Opcodes that the pickles of one file may always take, all together.

The most in 292 files that SB3 and its users wrote are 19,280: a state dict takes about 50 for each
tensor, an optimizer about 90 for each entry with Adam's two moments and its step."""
BYTES_PER_OPERATION = 16
"""Beyond the floor: one opcode for so many bytes of the file. A tensor has a record in the zip, of
about 300 bytes without its elements: a policy of 10,000 tensors of 1 KiB, all in the optimizer,
takes 1.4 million of the 3 million that its 49 MB allow. The most per byte takes a
`HerReplayBuffer` with `copy_info_dict`, which keeps a dict for each transition: one opcode for 19
bytes with the observations of PandaReach, for 38 with those of FetchReach."""
MEMORY = 64 * 1024**2
"""Bytes that the machine may always make the process hold for the pickles of one file, by its
price list. A tensor is priced at about 3.5 KB, names and memo included: 19,000 of them."""
MEMORY_RATIO = 5
"""Beyond the floor: so many bytes for each of the file's own. That buffer takes 4 at PandaReach."""

MAX_DEPTH = 8
"""Pickles inside pickles that are followed; SB3 writes at most two."""
_STEPS = 4096
"""Opcodes that are granted at a time; what small things hold is counted as often."""


@dataclass(slots=True)
class WalkBudget:
    """What is left of the operations and bytes of one file, and how deep its pickles nest now."""

    operations: int = OPERATIONS
    memory: int = MEMORY
    depth: int = 0

    @classmethod
    def of(cls, file_size: int) -> WalkBudget:
        """Return the budget of a file of so many bytes."""
        return cls(
            max(OPERATIONS, file_size // BYTES_PER_OPERATION),
            max(MEMORY, MEMORY_RATIO * file_size),
        )

    def grant(self) -> int:
        """Take some operations and return how many; `give_back` those that were not needed.

        Raises `CorruptCheckpoint` where none are left.
        """
        if not self.operations:
            raise CorruptCheckpoint("its pickles take more operations than any checkpoint's do")
        steps = min(_STEPS, self.operations)
        self.operations -= steps
        return steps

    def give_back(self, steps: int) -> None:
        self.operations += steps

    def hold(self, size: int) -> None:
        """Take so many bytes; raises `CorruptCheckpoint` where they are not left."""
        if size > self.memory:
            raise CorruptCheckpoint("its pickles take more memory than any checkpoint's do")
        self.memory -= size

    def enter(self) -> None:
        """Count a pickle that is opened; raises `CorruptCheckpoint` inside too many others."""
        if self.depth > MAX_DEPTH:
            raise CorruptCheckpoint(f"pickles inside pickles, more than {MAX_DEPTH} deep")
        self.depth += 1

    def leave(self) -> None:
        self.depth -= 1
