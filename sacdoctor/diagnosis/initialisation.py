"""Weights that still are exactly what their initialiser made them: those were never trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sacdoctor.checkpoint import Tensor
from sacdoctor.diagnosis.statistics import largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 4_000_000
"""Elements of a weight beyond which the product of it with itself is not worth the time."""
TOLERANCE = 1e-5
"""Relative. A float32 product of orthogonal rows is within 1e-6; one Adam step at a rate of 1e-4
moves it by 1e-3."""
_FEW = 4


def is_orthogonal(weight: Tensor) -> bool:
    """Return whether the rows (or columns, of a tall matrix) are orthogonal and equally long.

    So `torch.nn.init.orthogonal_` leaves a weight of at least two dimensions (Saxe et al. 2013),
    and SB3's actor-critic policies use it. A single row has nothing to be orthogonal to.
    """
    if len(weight.shape) < 2 or weight.dtype.name not in ("float32", "float64"):
        return False
    if weight.numel > LARGEST or weight.numel == 0 or weight.is_expanded:
        return False
    matrix = weight.values.reshape(weight.shape[0], -1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    # Any few rows settle it for nearly every trained weight.
    return _rows_are_orthogonal(matrix[:_FEW]) and _rows_are_orthogonal(matrix)


def was_trained(weight: Tensor) -> bool:
    """Return whether a weight can be neither of the two things that SB3's policies start from.

    Those are an orthogonal matrix and PyTorch's default, a uniform draw within 1/√fan_in
    (`torch.nn.Linear.reset_parameters`). False says nothing: a trained weight may lie within.
    """
    if len(weight.shape) < 2 or weight.is_expanded or not weight.numel:
        return False
    columns = weight.numel // weight.shape[0]
    if min(weight.shape[0], columns) < 2:
        return False  # a single row is orthogonal whatever it holds
    bound = columns**-0.5
    return largest(weight) > bound * (1 + TOLERANCE) and not is_orthogonal(weight)


def _rows_are_orthogonal(matrix: NDArray[Any]) -> bool:
    rows = matrix.astype(np.float64)
    if rows.shape[0] < 2 or not np.all(np.isfinite(rows)):
        return False
    gram = rows @ rows.T
    scale = gram[0, 0]
    if scale <= 0:
        return False
    return bool(np.abs(gram / scale - np.eye(len(gram))).max() < TOLERANCE)
