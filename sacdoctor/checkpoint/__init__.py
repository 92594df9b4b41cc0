"""What is in the file: the zip, tensor records, optimizer state and hyperparameters."""

from sacdoctor.checkpoint.checkpoint import Checkpoint
from sacdoctor.checkpoint.errors import (
    CheckpointError,
    CorruptCheckpoint,
    SacdoctorError,
    UnlistedName,
    UnsupportedCheckpoint,
)
from sacdoctor.checkpoint.optimizer_state import OptimizerState, ParameterGroup
from sacdoctor.checkpoint.tensors import Storage, Tensor

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CorruptCheckpoint",
    "OptimizerState",
    "ParameterGroup",
    "SacdoctorError",
    "Storage",
    "Tensor",
    "UnlistedName",
    "UnsupportedCheckpoint",
]
