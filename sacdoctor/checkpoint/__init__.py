"""What is in the file: the zip, tensor records, optimizer state and hyperparameters."""

from sacdoctor.checkpoint.checkpoint import POLICY, Checkpoint
from sacdoctor.checkpoint.dtypes import DType
from sacdoctor.checkpoint.errors import (
    CheckpointError,
    CorruptCheckpoint,
    NotACheckpoint,
    SacdoctorError,
    UnlistedName,
    UnsupportedCheckpoint,
)
from sacdoctor.checkpoint.optimizer_state import OptimizerState, ParameterGroup
from sacdoctor.checkpoint.tensors import Storage, Tensor

__all__ = [
    "POLICY",
    "Checkpoint",
    "CheckpointError",
    "CorruptCheckpoint",
    "DType",
    "NotACheckpoint",
    "OptimizerState",
    "ParameterGroup",
    "SacdoctorError",
    "Storage",
    "Tensor",
    "UnlistedName",
    "UnsupportedCheckpoint",
]
