"""Everything about the transitions of a replay buffer that rules look at.

Named tuples: every scan imports them, and as dataclasses they would take it 0.4 ms each.
"""

from __future__ import annotations

from typing import NamedTuple

Row = tuple[int, int]
"""A row of the arrays as they stand in the file, and an environment."""


class NonFiniteArray(NamedTuple):
    """An array with NaN or infinite numbers: their number, and where the first stands.

    `first` is its index in the array: row, environment, and what more the array has.
    """

    name: str
    number: int
    first: tuple[int, ...]


class Rows(NamedTuple):
    """How many transitions something was found in, and the first few of them."""

    number: int
    first: tuple[Row, ...]


class Succession(NamedTuple):
    """How transitions follow one another, within one environment, where no episode ends.

    `compared` are those looked at, neighbours of the same environment. `broken`: the next
    observation is not the observation of the next row. `aliased`: it is the observation itself,
    though the next row has another. `still`: observation, next observation and that of the next row
    are one and the same. `is_varied`: some number of the observation takes very many values, as in
    no grid. `is_constant`: an observation has several numbers, each of them always the same.
    `is_explained`: breaks stand where episodes of one length are cut, or steps are added up over
    several rows, or rows are in no order of time.
    """

    compared: int
    broken: Rows
    aliased: Rows
    still: Rows
    is_varied: bool
    is_constant: bool
    is_explained: bool


class Episodes(NamedTuple):
    """Where episodes end: `dones` of `transitions`, and `timeouts` that are marked as such.

    `lengths` of whole episodes, how many of each; `continued` of `resumable` dones are followed by
    a row that goes on from where the episode is said to have ended. `tells_time`: some number of
    the observation is one and the same at all ends, and not elsewhere. `keeps_timeouts`: the buffer
    was to keep them (`handle_timeout_termination`).
    """

    transitions: int
    dones: int
    timeouts: int
    lengths: dict[int, int]
    continued: Rows
    resumable: int
    tells_time: bool
    keeps_timeouts: bool


class Feature(NamedTuple):
    """A number of the observations: which one, its mean and its standard deviation."""

    name: str
    mean: float
    deviation: float


class RewardJump(NamedTuple):
    """Rewards before and after the row from which on all of them are larger, or smaller.

    `before` and `after` are 90th percentiles of what is not 0, without sign; `ratio` is the least
    by which any of their quantiles changed, but for what these vary by, at least 1.
    """

    row: int
    before: float
    after: float
    ratio: float


class Unrelated(NamedTuple):
    """How the outcomes of `looked_at` transitions fail to follow from them.

    `follows_last`: they follow from the action of the row before. Else `share` is how far those of
    like transitions differ, against those of any two.
    """

    looked_at: int
    share: float
    follows_last: bool


class StoredTransitions(NamedTuple):
    """What one pass over a replay buffer measured.

    `size` is the root mean square of all rewards. `shares`: the buffer keeps no next observations.
    `is_normalised`: the statistics of a `VecNormalize` are beside it, whose buffers hold what
    comes before the normalisation. `frozen_head`: of the rows at the head whose varied actions seem
    not to have been carried out, the share whose next observation is the observation itself.
    """

    transitions: int
    environments: int
    looked_at: int
    is_sb3s: bool
    shares: bool
    is_normalised: bool
    non_finite: tuple[NonFiniteArray, ...]
    succession: Succession
    episodes: Episodes | None
    features: tuple[Feature, ...]
    size: float
    jump: RewardJump | None
    unrelated: Unrelated | None
    frozen_head: float = 0.0

    @classmethod
    def in_words(cls) -> str:
        return "a replay buffer's transitions"


def listed(rows: Rows) -> str:
    """Return the first rows in words."""
    few = ", ".join(f"[{row}, {environment}]" for row, environment in rows.first)
    return f"the first at [row, environment] {few}"
