"""What is training, SB3's model or one's own: parameters, optimizers, the causes of zeros."""

from sacdoctor.training.live.causes import cause_of
from sacdoctor.training.live.in_memory import InMemory, LiveFacts, Settings
from sacdoctor.training.live.missing_parameters import (
    MissingParameters,
    add_missing_parameters,
    listed,
)
from sacdoctor.training.live.model import LiveModel, Pace, is_target, parameters_of
from sacdoctor.training.live.non_finite import NonFinite, NonFiniteWatch

__all__ = [
    "InMemory",
    "LiveFacts",
    "LiveModel",
    "MissingParameters",
    "NonFinite",
    "NonFiniteWatch",
    "Pace",
    "Settings",
    "add_missing_parameters",
    "cause_of",
    "is_target",
    "listed",
    "parameters_of",
]
