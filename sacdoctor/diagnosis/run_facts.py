"""Everything about the checkpoints of one run together that rules look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from sacdoctor.diagnosis.causes import Attribution
from sacdoctor.model import LayerReport


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What no checkpoint shows by itself.

    `unmoved`: the weights and biases that are identical in all checkpoints while others of their
    network moved, and what that is put down to. `told`: the tensors of which some checkpoint's own
    optimizer state speaks. `layers`: the biases at notice or worse in the last checkpoint.
    """

    in_words: ClassVar[str] = "the checkpoints of a run together"

    unmoved: Mapping[str, Attribution]
    told: Collection[str]
    layers: tuple[LayerReport, ...]
