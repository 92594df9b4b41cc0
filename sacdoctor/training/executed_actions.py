"""Where version 0.1.0 had the replay buffers: pickles that it wrote name this module."""

from sacdoctor.training.warmup import ExecutedActionDictReplayBuffer, ExecutedActionReplayBuffer

__all__ = ["ExecutedActionDictReplayBuffer", "ExecutedActionReplayBuffer"]
