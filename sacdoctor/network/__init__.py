"""Live models and replay buffers: made from their files without running anything in them, and what
their networks do on observations.

Needs the extra `train` (Stable-Baselines3 and sb3-contrib).
"""

from sacdoctor.network.activity import activity_of
from sacdoctor.network.agents import Batch, agent_of
from sacdoctor.network.load import LeftOut, load
from sacdoctor.network.probing import COUNT, ProbeReport, probe
from sacdoctor.network.replay import load_replay_buffer
from sacdoctor.network.work import at_work

__all__ = [
    "COUNT",
    "Batch",
    "LeftOut",
    "ProbeReport",
    "activity_of",
    "agent_of",
    "at_work",
    "load",
    "load_replay_buffer",
    "probe",
]
