"""Arrays in pickles: what numpy has in memory, whatever the order of their axes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from sacdoctor.errors import CorruptCheckpoint
from sacdoctor.pickles import NUMPY_ARRAYS, OpaqueNames, PickledArray, read_pickle

CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
ARRAYS = {
    "in C order": CUBE,
    "in Fortran order": CUBE.T,
    "an image from last to first channel": CUBE.transpose(2, 0, 1),
    "its first axes swapped": CUBE.transpose(1, 0, 2),
    "every other row": CUBE[:, ::2],
}


def read(data: bytes) -> PickledArray:
    array = read_pickle(data, OpaqueNames(NUMPY_ARRAYS))
    assert isinstance(array, PickledArray)
    return array


@pytest.mark.parametrize("protocol", range(3, 6))
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_has_its_values_and_shape_in_any_order_of_axes(name: str, protocol: int) -> None:
    array = read(pickle.dumps(ARRAYS[name], protocol))
    assert array.shape == ARRAYS[name].shape
    np.testing.assert_array_equal(array.view(), ARRAYS[name])


@pytest.mark.parametrize("axes", [(0, 1), (0, 0, 1), (0, 1, 3), (0, 1, 2, 2), (0.0, 1, 2), "012"])
def test_axes_that_an_array_has_not_are_refused(axes: Any) -> None:
    from_buffer = NUMPY_ARRAYS["numpy._core.numeric", "_frombuffer"]
    with pytest.raises(CorruptCheckpoint, match="its pickle"):
        from_buffer(b"", None, (2, 3, 4), "K", axes)
