"""Everything about what SB3's logger wrote of one training that rules look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray


COEFFICIENT = "train/ent_coef"
"""The mean over the updates since the row before."""


class Points(NamedTuple):
    """A logged value over time: `timesteps` and `values`, shape (n,), in the order of time."""

    timesteps: NDArray[Any]
    values: NDArray[Any]


class LoggedRow(NamedTuple):
    """One row of a log, in the order in which they were written; None where nothing stands."""

    timesteps: int
    updates: float | None
    exploration: float | None


class LogFacts(NamedTuple):
    """What one log says, by SB3's names: `train/approx_kl`, …

    `rows` are empty where the log does not keep the order in which it was written. `algorithm` is
    that of the checkpoints of the training, and `largest_value` the largest discounted sum of
    rewards that its episodes may give, entropy included; None where the files do not tell.
    """

    series: Mapping[str, Points]
    rows: tuple[LoggedRow, ...] = ()
    algorithm: str | None = None
    largest_value: float | None = None

    @classmethod
    def in_words(cls) -> str:
        return "what SB3 logged of a training"

    def last(self, name: str) -> float | None:
        """Return the last value of a series, None where there is none."""
        found = self.series.get(name)
        return float(found.values[-1]) if found is not None and len(found.values) else None
