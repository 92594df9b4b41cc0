"""New values for single elements of a tensor in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sacdoctor.checkpoint.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BARE = ""
"""Stands for the file itself where it is a bare state dict, without members around it."""


@dataclass(frozen=True, slots=True, eq=False)
class ElementEdit:
    """New values for some elements of one tensor.

    `member` is the file in the checkpoint (`policy.pth`, or `BARE`), `path` leads to the tensor
    in what `torch.load` returns for it. `positions` count elements in C order; `values` has one
    raw element (`tensor.dtype.code`) for each.
    """

    member: str
    path: tuple[str | int, ...]
    tensor: Tensor
    positions: NDArray[np.int64]
    values: NDArray[Any]
