"""A live SB3 model: its parameters, optimizers and the causes of its zeros."""

from sacdoctor.training.live.causes import cause_of
from sacdoctor.training.live.missing_parameters import (
    MissingParameters,
    add_missing_parameters,
    listed,
    load_added,
)
from sacdoctor.training.live.model import LiveModel, parameters_of

__all__ = [
    "LiveModel",
    "MissingParameters",
    "add_missing_parameters",
    "cause_of",
    "listed",
    "load_added",
    "parameters_of",
]
