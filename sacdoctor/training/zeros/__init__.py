"""Biases that go dead while training runs, and their repair."""

from sacdoctor.training.zeros.callback import OnMissing, ZeroWeightsPreventionCallback
from sacdoctor.training.zeros.checks import Check, DeadBias, Repair
from sacdoctor.training.zeros.system import create_zero_prevention_system

__all__ = [
    "Check",
    "DeadBias",
    "OnMissing",
    "Repair",
    "ZeroWeightsPreventionCallback",
    "create_zero_prevention_system",
]
