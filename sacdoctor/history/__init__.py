"""Many checkpoints of one run, and the run's logs."""

from sacdoctor.history.model import (
    Crash,
    Event,
    History,
    LogNote,
    Norms,
    Onset,
    RewardCurve,
    Run,
    Snapshot,
)
from sacdoctor.history.read import read_history

__all__ = [
    "Crash",
    "Event",
    "History",
    "LogNote",
    "Norms",
    "Onset",
    "RewardCurve",
    "Run",
    "Snapshot",
    "read_history",
]
