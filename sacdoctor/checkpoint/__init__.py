"""What is in the file: tensor records, optimizer state and hyperparameters."""

from sacdoctor.checkpoint.checkpoint import Checkpoint
from sacdoctor.checkpoint.dtypes import DTYPES, DType
from sacdoctor.checkpoint.edit import names_in_torch_file
from sacdoctor.checkpoint.edits import Edits, ElementEdit
from sacdoctor.checkpoint.foreign import ForeignCheckpoint, foreign_bytes, foreign_folder
from sacdoctor.checkpoint.formats import checkpoints_below
from sacdoctor.checkpoint.hyperparameters import Hyperparameters, Pickled, decoded
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.optimizer_file import optimizer_file, torch_tensor
from sacdoctor.checkpoint.optimizer_state import OptimizerState, ParameterGroup
from sacdoctor.checkpoint.schedules import constant_of
from sacdoctor.checkpoint.tensors import Storage, Tensor

__all__ = [
    "DTYPES",
    "Checkpoint",
    "DType",
    "Edits",
    "ElementEdit",
    "ForeignCheckpoint",
    "Hyperparameters",
    "Limits",
    "OptimizerState",
    "ParameterGroup",
    "Pickled",
    "Storage",
    "Tensor",
    "checkpoints_below",
    "constant_of",
    "decoded",
    "foreign_bytes",
    "foreign_folder",
    "names_in_torch_file",
    "optimizer_file",
    "torch_tensor",
]
