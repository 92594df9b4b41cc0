"""What numpy's names in a pickle become: numbers, and arrays as views of the pickle's own bytes.

Sources: numpy's `ndarray.__reduce_ex__` (protocols below 5 pickle the array by `_reconstruct` and a
state, protocol 5 by `_frombuffer`) and `dtype.__reduce__`; numpy 2 moved the functions from
`numpy.core` to `numpy._core`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.files import fetched
from sacdoctor.pickles.vocabulary import TakesState

MAX_DIMENSIONS = 32
"""numpy 1's own limit."""

_PLAIN = re.compile(r"[biufc]\d{1,2}")
_BYTES = (bytes, memoryview)


class PickledDType(TakesState, Struct, eq=False):
    """An element type as the pickle spells it; its state, which follows, adds the byte order."""

    code: str
    byteorder: str = "="
    is_plain: bool = True

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "=", "|"):
            raise CorruptCheckpoint("its pickle describes an element type in an unknown way")
        self.byteorder = state[1]
        self.is_plain = state[2] is None and state[3] is None

    def numpy(self) -> np.dtype[Any]:
        """Return the type of the elements.

        Raises `UnsupportedCheckpoint` for anything but booleans and numbers.
        """
        # `=` is the writer's own order: machines that SB3 trains on are little-endian.
        order = ">" if self.byteorder == ">" else "<"
        if self.is_plain and _PLAIN.fullmatch(self.code):
            with suppress(TypeError):
                return np.dtype(order + self.code)
        raise UnsupportedCheckpoint(f"elements of type {self.code!r} are not read here")


class PickledArray(TakesState, Struct, eq=False):
    """An array as the pickle describes it; `data` are bytes, or a list for Python objects.

    `axes` is what the bytes, in C order, were transposed by; None for an array that was not.
    """

    dtype: Any = None
    shape: Any = (0,)
    fortran: bool = False
    data: Any = b""
    axes: Any = None

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise CorruptCheckpoint("its pickle describes an array in an unknown way")
        _, self.shape, self.dtype, fortran, self.data = state
        self.fortran = bool(fortran)

    @property
    def objects(self) -> list[Any] | None:
        """The elements of an array of Python objects, None for any other array."""
        return self.data if isinstance(self.data, list) else None

    def read(self) -> NDArray[Any]:
        """Return the elements as `view` does, ready to be looked at."""
        if not isinstance(self.data, memoryview):
            return self.view()
        return replace(self, data=fetched(self.data)).view()

    def view(self) -> NDArray[Any]:
        """Return the array, read-only, without copying its bytes.

        Raises `CorruptCheckpoint` where the shape and the bytes disagree, `UnsupportedCheckpoint`
        for elements that are no numbers.
        """
        shape = self.shape
        if not isinstance(self.dtype, PickledDType) or not isinstance(shape, tuple):
            raise CorruptCheckpoint("its pickle describes an array in an unknown way")
        dtype = self.dtype.numpy()
        if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
            raise CorruptCheckpoint("its pickle gives an array an impossible shape")
        if not isinstance(self.data, _BYTES) or prod(shape) * dtype.itemsize != len(self.data):
            held = len(self.data) if isinstance(self.data, _BYTES) else 0
            raise CorruptCheckpoint(
                f"an array of shape {_short(shape)} and type {dtype} needs "
                f"{prod(shape) * dtype.itemsize:,} bytes, and {held:,} are there"
            )
        flat = np.frombuffer(self.data, dtype) if len(self.data) else np.empty(0, dtype)
        flat.flags.writeable = False
        if self.axes is None:
            return flat.reshape(shape, order="F" if self.fortran else "C")
        stored = [n for _, n in sorted(zip(self.axes, shape, strict=True))]
        return flat.reshape(stored).transpose(self.axes)


def _short(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(str(n) if n < 10**15 else "…" for n in shape) + ")"


def _dtype(code: Any, _align: Any = False, _copy: Any = False) -> PickledDType:
    if not isinstance(code, str):
        raise CorruptCheckpoint("its pickle names an element type by something that is no text")
    return PickledDType(code)


def _reconstruct(_type: Any, _shape: Any, _code: Any) -> PickledArray:
    return PickledArray()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> PickledArray:
    """Source: numpy/_core/numeric.py; it knows the order K, and `axes`, from numpy 2.3 on."""
    if order == "K" and axes is not None:
        return PickledArray(dtype, _transposed(shape, axes), False, data, axes)
    if order not in ("C", "F"):
        raise CorruptCheckpoint("its pickle describes an array in an unknown way")
    return PickledArray(dtype, shape, order == "F", data)


def _transposed(shape: Any, axes: Any) -> tuple[Any, ...]:
    if not isinstance(shape, tuple) or not isinstance(axes, tuple):
        raise CorruptCheckpoint("its pickle describes an array in an unknown way")
    if not all(type(axis) is int for axis in axes) or sorted(axes) != [*range(len(shape))]:
        raise CorruptCheckpoint("its pickle transposes an array by axes that it has not")
    return tuple(shape[axis] for axis in axes)


def _scalar(dtype: Any, data: Any = b"") -> bool | int | float:
    """A number that numpy computed, such as a learning rate from a schedule."""
    if isinstance(data, memoryview):
        data = fetched(data)
    number = PickledArray(dtype, (), False, data).view().item()
    if not isinstance(number, (bool, int, float)):
        raise UnsupportedCheckpoint(f"numbers of type {dtype.code!r} are not read here")
    return number


Names = dict[tuple[str, str], Callable[..., Any]]

_CORES = ("numpy.core", "numpy._core")
NUMPY_NUMBERS: Names = {
    ("numpy", "dtype"): _dtype,
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORES},
}
"""What calling the names makes that numpy's numbers are pickled with."""
NUMPY_ARRAYS: Names = {
    **NUMPY_NUMBERS,
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _frombuffer for core in _CORES},
}
"""The same for its arrays."""
