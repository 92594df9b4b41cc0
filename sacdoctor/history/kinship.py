"""Whether the weights of two checkpoints come from one initialisation.

Two matrices of n elements, drawn independently with mean 0, have a correlation of 0 ± 1/√n,
orthogonal ones too: their relative distance is √2. Training moves weights away from where they
began, but not out of their neighbourhood: what it has not turned yet stays. What trained networks
have in common whatever their seed (a critic's outputs are all negative, some inputs matter more) is
in the means of rows and columns, so these are taken out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis import as_numbers, has_floats
from sacdoctor.errors import SacdoctorError
from sacdoctor.layers import online_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sacdoctor.history.lineage import Header

_MOST = 32
"""Rows and columns of a matrix that are looked at."""
_LEAST = 400
"""Elements from which on a low correlation says that there is no kinship."""
_DEVIATIONS = 6.0
"""A correlation is no chance from so many of its standard deviations, 1/√n, on."""
RELATED = 0.1
"""Least correlation of two states of one training. Measured over 79 trainings of 14 algorithms: at
most 5.0 deviations between seeds; at least 0.6 from the first checkpoint to the last, and still
0.14 from SAC's very initialisation to 40,000 steps later, at a rate of 1e-3."""


def sample(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Return a part of each weight matrix of the online networks, centred, as one vector."""
    parts = [np.zeros(0)]
    for name, tensor in checkpoint.tensors.items():
        if online_name(name) is None and len(tensor.shape) > 1 and has_floats(tensor):
            matrix = as_numbers(tensor)[:_MOST].reshape(min(tensor.shape[0], _MOST), -1)
            parts.append(centred(matrix[:, :_MOST].astype(np.float64)).reshape(-1))
    return np.concatenate(parts).astype(np.float32)


def likeness(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Return the correlation of two samples of the same tensors; None where one is constant."""
    if a.size != b.size:
        return None
    both = np.isfinite(a) & np.isfinite(b)
    left, right = a[both].astype(np.float64), b[both].astype(np.float64)
    norms = float(np.sqrt(np.dot(left, left) * np.dot(right, right)))
    if not norms or not np.isfinite(norms):
        return None
    return float(np.dot(left, right)) / norms


def are_related(a: NDArray[Any], b: NDArray[Any]) -> bool | None:
    """Return whether two samples come from one initialisation; None where they cannot tell."""
    found = likeness(a, b)
    if found is not None and found >= max(RELATED, _DEVIATIONS / np.sqrt(a.size)):
        return True
    return None if found is None or a.size < _LEAST else False


class Kinship:
    """Compares checkpoints by their weights; those of each are read once."""

    def __init__(self) -> None:
        self._samples: dict[Path, NDArray[np.float32]] = {}

    def likeness(self, a: Header, b: Header) -> float | None:
        """Return the correlation of two checkpoints' weights; None where they do not tell."""
        return likeness(self._sample(a), self._sample(b))

    def are_related(self, a: Header, b: Header) -> bool | None:
        """Return whether the weights come from one initialisation; None where they do not tell."""
        return are_related(self._sample(a), self._sample(b))

    def _sample(self, header: Header) -> NDArray[np.float32]:
        if header.path not in self._samples:
            self._samples[header.path] = _read(header)
        return self._samples[header.path]


def _read(header: Header) -> NDArray[np.float32]:
    """Return a checkpoint's sample, empty where its weights cannot be read: that is told later."""
    try:
        if header.checkpoint is None:
            with Checkpoint(header.path) as checkpoint:
                return sample(checkpoint)
        found = sample(header.checkpoint)
        header.checkpoint.rest()
        return found
    except SacdoctorError:
        return np.zeros(0, np.float32)


def centred(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix less the means of its rows and columns; a single row or column as it is."""
    if min(matrix.shape, default=0) < 2:
        return matrix - matrix.mean() if matrix.size else matrix
    with np.errstate(invalid="ignore"):
        rows, columns = matrix.mean(axis=1, keepdims=True), matrix.mean(axis=0, keepdims=True)
        return np.asarray(matrix - rows - columns + matrix.mean())
