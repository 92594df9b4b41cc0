"""What looks after a training loop of one's own: torch alone, no SB3, no gymnasium."""

from sacdoctor.training.loop.figures import Sink
from sacdoctor.training.loop.monitor import TrainingMonitor

__all__ = ["Sink", "TrainingMonitor"]
