"""Many checkpoints of one run: what changed between them, when it went wrong, and its logs."""

from sacdoctor.history.difference import (
    Difference,
    SettingDifference,
    TensorDifference,
    TensorStatus,
    diff,
)
from sacdoctor.history.donors import MOST_EARLIER, ROLLOUT, find_donors
from sacdoctor.history.model import (
    Crash,
    Event,
    History,
    Logged,
    LogNote,
    Norms,
    Onset,
    RewardCurve,
    Run,
    Snapshot,
)
from sacdoctor.history.read import logs_below, read_history
from sacdoctor.history.watch import landings

__all__ = [
    "MOST_EARLIER",
    "ROLLOUT",
    "Crash",
    "Difference",
    "Event",
    "History",
    "LogNote",
    "Logged",
    "Norms",
    "Onset",
    "RewardCurve",
    "Run",
    "SettingDifference",
    "Snapshot",
    "TensorDifference",
    "TensorStatus",
    "diff",
    "find_donors",
    "landings",
    "logs_below",
    "read_history",
]
