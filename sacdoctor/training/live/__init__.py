"""What is training, SB3's model or one's own: parameters, optimizers, the causes of zeros."""

from sacdoctor.training.live.causes import cause_of
from sacdoctor.training.live.missing_parameters import (
    MissingParameters,
    add_missing_parameters,
    listed,
)
from sacdoctor.training.live.model import LiveModel, Pace, is_target, parameters_of

__all__ = [
    "LiveModel",
    "MissingParameters",
    "Pace",
    "add_missing_parameters",
    "cause_of",
    "is_target",
    "listed",
    "parameters_of",
]
