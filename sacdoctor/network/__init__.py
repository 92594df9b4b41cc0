"""Live models and replay buffers: made from their files without running anything in them.

Needs the extra `train` (Stable-Baselines3 and sb3-contrib).
"""

from sacdoctor.network.load import LeftOut, load
from sacdoctor.network.replay import load_replay_buffer

__all__ = ["LeftOut", "load", "load_replay_buffer"]
