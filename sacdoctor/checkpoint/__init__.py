"""What is in the file: tensor records, optimizer state and hyperparameters."""

from sacdoctor.checkpoint.checkpoint import Checkpoint
from sacdoctor.checkpoint.dtypes import DType
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.optimizer_state import OptimizerState, ParameterGroup
from sacdoctor.checkpoint.tensors import Storage, Tensor

__all__ = [
    "Checkpoint",
    "DType",
    "Limits",
    "OptimizerState",
    "ParameterGroup",
    "Storage",
    "Tensor",
]
