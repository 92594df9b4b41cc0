"""Everything about the checkpoints of one run together that rules look at.

A named tuple: every scan imports it, and as a dataclass it would take 0.4 ms of each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sacdoctor.diagnosis.causes import Attribution
from sacdoctor.model import LayerReport


class RunFacts(NamedTuple):
    """What no checkpoint shows by itself.

    `unmoved`: the weights and biases that are identical in all checkpoints while others of their
    network moved, and what that is put down to. `told`: the tensors of which some checkpoint's own
    optimizer state speaks. `layers`: the biases at notice or worse in the last checkpoint.
    """

    unmoved: Mapping[str, Attribution]
    told: Collection[str]
    layers: tuple[LayerReport, ...]

    @classmethod
    def in_words(cls) -> str:
        return "the checkpoints of a run together"
