"""Signs that a training goes bad: collapse, divergence, schedules that jump."""

from sacdoctor.training.health.callback import TrainingHealthCallback
from sacdoctor.training.health.crash import RewardCrash, TrainingEvent
from sacdoctor.training.health.signs import HealthWarning

__all__ = ["HealthWarning", "RewardCrash", "TrainingEvent", "TrainingHealthCallback"]
