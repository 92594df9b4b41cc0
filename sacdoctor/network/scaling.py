"""What stood between an agent's environment and its networks: the statistics of `VecNormalize`."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis import (
    Normalised,
    Statistics,
    normalised,
    read_statistics,
    statistics_beside,
)
from sacdoctor.network.observations import Observed


class Scaling(Struct, frozen=True):
    """What observations and rewards become before they reach the networks of one checkpoint.

    `statistics` are those that belong to it, None where there are none. `subject` is what rules
    about them judge. `is_missing`: the agent was trained with some, and they are not there.
    """

    statistics: Statistics | None
    subject: Normalised | None
    is_missing: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Scaling:
        """Return what the files beside a checkpoint say.

        Raises `SacdoctorError` where statistics that are named after it cannot be read.
        """
        subject = normalised(checkpoint)
        beside = statistics_beside(Path(checkpoint.path))
        if subject is None:
            own = read_statistics(beside.own) if beside.own and beside.is_named else None
            return cls(own, None, False)
        own = subject.own if subject.belongs else None
        was_normalised = subject.proof is not None or not subject.is_same_moment
        return cls(own, subject, own is None and was_normalised)

    @property
    def is_reward_known(self) -> bool:
        """Whether it is known what rewards become."""
        if self.statistics is None:
            return not self.is_missing
        return not isnan(self.statistics.reward_deviation or 0.0)

    def observed(self, given: Observed) -> Observed:
        """Return observations as the policy takes them."""
        statistics = self.statistics
        if statistics is None or not statistics.moments:
            return given
        entries = given if isinstance(given, dict) else {"": given}
        scaled = {
            key: np.clip(statistics.scaled(key, rows), -statistics.clip, statistics.clip).astype(
                np.float32
            )
            if key in statistics.moments
            else rows
            for key, rows in entries.items()
        }
        return scaled if isinstance(given, dict) else scaled[""]

    def reward(self, given: Any) -> Any:
        """Return rewards, a number or an array, as the critic learns from them."""
        statistics = self.statistics
        deviation = None if statistics is None else statistics.reward_deviation
        if statistics is None or not deviation or isnan(deviation):
            return given
        return np.clip(given / deviation, -statistics.reward_clip, statistics.reward_clip)
