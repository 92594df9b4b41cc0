"""How much work and memory all pickles of one file may take, counted by the machine."""

from __future__ import annotations

from msgspec import Struct

from sacdoctor.errors import CorruptCheckpoint, OverBudget

OPERATIONS = 1_000_000
"""Opcodes that the pickles of one file may always take, all together.

The most in 292 files that SB3 and its users wrote are 19,280: a state dict takes about 50 for each
tensor, an optimizer about 90 for each entry with Adam's two moments and its step."""
MEMORY = 64 * 1024**2
"""Bytes that the machine may always make the process hold for the pickles of one file, by its
price list. A tensor is priced at about 3.4 KB, names and memo included: 19,000 of them."""
BYTES_PER_OPERATION, MEMORY_RATIO = 32, 4
"""Beyond that: an opcode for so many bytes of the file, and so many bytes held for each of them. A
policy of 10,000 tensors of 1 KiB, all in its optimizer, takes 1.25 million of the 1.31 million
opcodes that its 42 MB allow, and 3.3 bytes for each."""
BUFFER_BYTES_PER_OPERATION, BUFFER_MEMORY_RATIO = 18, 6
"""The same for a replay buffer. A `HerReplayBuffer` with `copy_info_dict` keeps a dict for each
transition: an opcode for 19 bytes with the observations of PandaReach, 5.1 bytes for each with
those of FetchReach and a numpy number in each dict."""
BUFFER_FLOOR = 32 * 1024**2
"""Bytes: a smaller buffer may take what one of this size may. Transitions that are single objects
take 48 opcodes each with Python's numbers beside two arrays, 78 and 9 KB with numpy's: 20,000 of
these, in 2.8 MB, are within it. Time and memory are what a hostile file of 32 MB is allowed."""

MAX_DEPTH = 8
"""Pickles inside pickles that are followed; SB3 writes at most two."""
STEPS = 4096
"""Opcodes that are granted at a time; what small things hold is counted as often."""


class WalkBudget(Struct):
    """What is left of the operations and bytes of one file, and how deep its pickles nest now."""

    operations: int = OPERATIONS
    memory: int = MEMORY
    depth: int = 0

    @classmethod
    def of(
        cls,
        file_size: int,
        bytes_per_operation: int = BYTES_PER_OPERATION,
        memory_ratio: int = MEMORY_RATIO,
    ) -> WalkBudget:
        """Return the budget of a file of so many bytes."""
        operations = max(OPERATIONS, file_size // bytes_per_operation)
        return cls(operations, max(MEMORY, file_size * memory_ratio))

    @classmethod
    def of_buffer(cls, file_size: int) -> WalkBudget:
        """Return that of a file which is one pickle, such as a replay buffer."""
        size = max(file_size, BUFFER_FLOOR)
        return cls.of(size, BUFFER_BYTES_PER_OPERATION, BUFFER_MEMORY_RATIO)

    def grant(self) -> int:
        """Take some operations and return how many; `give_back` those that were not needed.

        Raises `OverBudget` where none are left.
        """
        if not self.operations:
            raise OverBudget("its pickles take more operations than any checkpoint's do")
        steps = min(STEPS, self.operations)
        self.operations -= steps
        return steps

    def take(self, steps: int) -> None:
        """Take so many operations; raises `OverBudget` where they are not left."""
        if steps > self.operations:
            raise OverBudget("its pickles take more operations than any checkpoint's do")
        self.operations -= steps

    def give_back(self, steps: int) -> None:
        self.operations += steps

    def hold(self, size: int) -> None:
        """Take so many bytes; raises `OverBudget` where they are not left."""
        if size > self.memory:
            raise OverBudget("its pickles take more memory than any checkpoint's do")
        self.memory -= size

    def enter(self) -> None:
        """Count a pickle that is opened; raises `CorruptCheckpoint` inside too many others."""
        if self.depth > MAX_DEPTH:
            raise CorruptCheckpoint(f"pickles inside pickles, more than {MAX_DEPTH} deep")
        self.depth += 1

    def leave(self) -> None:
        self.depth -= 1
