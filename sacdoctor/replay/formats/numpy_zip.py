"""Buffers that `numpy.savez` or `numpy.savez_compressed` wrote: a zip with a `.npy` per array.

Stored arrays are views of the file, deflated ones are inflated within the budget that holds
for every zip. No object is ever unpickled, as with `numpy.load(allow_pickle=False)`. Format:
numpy/lib/format.py, whose own functions read and write the headers.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from msgspec import Struct
from numpy.lib import format as npy
from numpy.typing import NDArray

from sacdoctor.archive import Archive, Budget
from sacdoctor.errors import (
    CorruptCheckpoint,
    NotACheckpoint,
    SacdoctorError,
    UnsupportedCheckpoint,
)
from sacdoctor.files import fetched, map_file
from sacdoctor.replay.buffer import Origin, ReplayBuffer
from sacdoctor.replay.fields import OBSERVATIONS, buffer_of, fields_among, lacking, quoted
from sacdoctor.replay.filling import COUNTERS, Filling
from sacdoctor.replay.formats.interface import Kind
from sacdoctor.replay.shortening import PIECE, pieces_of, shortened

_ENDING = ".npy"
_MAX_HEADER = 16 * 1024
"""Bytes at the start of a member in which its header must end; numpy takes 10,000."""
_MAX_DIMENSIONS = 32

_Pieces = Iterable[bytes | memoryview]


class _Header(Struct, frozen=True):
    """What the header of a `.npy` says; the elements begin behind its `size` bytes."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    size: int

    @property
    def is_by_rows(self) -> bool:
        """Whether the elements are numbers, or texts, that stand row by row."""
        return not self.dtype.hasobject and not (self.is_fortran and len(self.shape) > 1)


class _NumpyZip(Origin):
    """An open `.npz`. `fields` says which arrays are which field, `filled` how far they are."""

    fields: Mapping[str, str]
    filled: Filling

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._archive = Archive(data, position=0, budget=Budget.of(len(data)))
        self.fixed = tuple((name, member.method) for name, member in self._archive.items())
        self.headers = {
            name.removesuffix(_ENDING): _header(self._archive.start_of(name, _MAX_HEADER), name)
            for name in self._archive
            if name.endswith(_ENDING)
        }

    def array(self, name: str) -> NDArray[Any]:
        """Return an array, read-only, its checksum checked.

        Raises `UnsupportedCheckpoint` for Python objects, `CorruptCheckpoint` where the header and
        the bytes disagree.
        """
        header = self.headers[name]
        if header.dtype.hasobject:
            raise UnsupportedCheckpoint(
                f"its {name!r} hold Python objects, which only running their pickle would make; "
                "save them as numbers"
            )
        data = self._archive.view(name + _ENDING)[header.size :]
        needed = prod(header.shape) * header.dtype.itemsize
        if needed != len(data) or not needed:
            raise CorruptCheckpoint(
                f"its {name!r} of shape {header.shape} and type {header.dtype} take {needed:,} "
                f"bytes, and {len(data):,} are there"
            )
        flat = np.frombuffer(data, header.dtype)
        flat.flags.writeable = False
        return flat.reshape(header.shape, order="F" if header.is_fortran else "C")

    def numbers(self) -> dict[str, int | bool]:
        """Return the counters among the arrays: those of one whole number or truth value."""
        return {
            name: self.read(self.array(name)).item()
            for name, header in self.headers.items()
            if name in COUNTERS and prod(header.shape) == 1 and header.dtype.kind in "iub"
        }

    # -- writing -------------------------------------------------------------------------------

    def without_oldest(self, buffer: ReplayBuffer, rows: int) -> Callable[[BinaryIO], None]:
        counters = self.filled.after(buffer.size - rows)
        changed: dict[str, _Pieces] = {}
        for name, header in self.headers.items():
            if name in counters:
                value = np.array(counters[name], header.dtype)
                changed[name + _ENDING] = (self._start(name), value.tobytes())
            elif self._has_rows(name, buffer):
                changed[name + _ENDING] = self._shortened(name, buffer, rows)

        records = self._records()

        def write(file: BinaryIO) -> None:
            with zipfile.ZipFile(file, "w") as out:
                for info in records:
                    pieces = changed.get(info.filename) or self._copied(info.filename)
                    with out.open(info, "w", force_zip64=True) as member:
                        for piece in pieces:
                            member.write(piece)

        return write

    def _has_rows(self, name: str, buffer: ReplayBuffer) -> bool:
        """Return whether an array has a row per step.

        Raises `UnsupportedCheckpoint` where it has, and they cannot be taken out.
        """
        header = self.headers[name]
        if name not in self.fields.values() and header.shape[:1] != (buffer.capacity,):
            return False
        if not header.is_by_rows:
            raise UnsupportedCheckpoint(
                f"it cannot be cleaned here: its {name!r} have a row per step, and are not kept "
                "as plain numbers, row by row"
            )
        return True

    def _shortened(self, name: str, buffer: ReplayBuffer, rows: int) -> _Pieces:
        array, header = self.array(name), self.headers[name]
        is_observed = name in {self.fields.get(field) for field in buffer.observation_names}
        has_next = len(array) > buffer.capacity or not buffer.full
        behind = int(buffer.optimize_memory_usage and is_observed and has_next)
        views = shortened(buffer, array, rows, behind)
        count = sum(map(len, views))
        free = len(array) - count if self.filled.counters else 0
        start = self._start(name) if free else _start_of(header, count)
        return chain((start,), pieces_of(buffer, views, free))

    def _start(self, name: str) -> bytes:
        """Return the header of an array as it is."""
        return bytes(fetched(self._archive.view(name + _ENDING)[: self.headers[name].size]))

    def _copied(self, name: str) -> Iterator[memoryview]:
        data = self._archive.view(name)
        for at in range(0, len(data), PIECE):
            yield fetched(data[at : at + PIECE])

    def _records(self) -> list[zipfile.ZipInfo]:
        """Return what the zip says of each member, in its order: name, date, compression, rights.

        Raises `UnsupportedCheckpoint` where Python's own reader does not take the file.
        """
        whole: Any = self.data.obj  # of a large file the records are pinned
        try:
            said = zipfile.ZipFile(io.BytesIO(whole) if isinstance(whole, bytes) else whole)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise UnsupportedCheckpoint(
                f"it cannot be cleaned here: Python does not read its zip ({error})"
            ) from None
        records = []
        for old in said.infolist():
            info = zipfile.ZipInfo(old.filename, old.date_time)
            info.compress_type, info.create_system = old.compress_type, old.create_system
            info.external_attr, info.comment = old.external_attr, old.comment
            records.append(info)
        return records


def _header(start: bytes, name: str) -> _Header:
    """Return what the start of a `.npy` says. Raises `CorruptCheckpoint` where it is none."""
    file = io.BytesIO(start)
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise UnsupportedCheckpoint(f"{name!r} is of version {version} of numpy's format")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy tells of headers that Python 2 wrote
            shape, is_fortran, dtype = read(file)
    except (ValueError, SyntaxError, TokenError, TypeError, RecursionError, MemoryError) as error:
        raise CorruptCheckpoint(f"{name!r} is no array that numpy wrote: {error}") from None
    if len(shape) > _MAX_DIMENSIONS or min(shape, default=0) < 0 or not dtype.itemsize:
        raise CorruptCheckpoint(f"{name!r} has an impossible shape or type, {shape} of {dtype}")
    return _Header(shape, is_fortran, dtype, file.tell())


def _start_of(header: _Header, rows: int) -> bytes:
    """Return the header of an array as numpy writes it, with so many rows."""
    file = io.BytesIO()
    said = {
        "descr": npy.dtype_to_descr(header.dtype),
        "fortran_order": False,
        "shape": (rows, *header.shape[1:]),
    }
    npy.write_array_header_1_0(file, said)
    return file.getvalue()


def _opens(data: memoryview) -> bool:
    """Return whether the bytes begin as a zip whose first member is named like an array."""
    if bytes(data[:4]) != b"PK\x03\x04":
        return False
    size = int.from_bytes(data[26:28], "little")  # APPNOTE.TXT, 4.3.7
    return bytes(data[30 : 30 + size]).endswith(_ENDING.encode())


def _read(data: memoryview) -> ReplayBuffer:
    origin = _NumpyZip(data)
    origin.fields = fields_among(origin.headers)
    missing = lacking(origin.fields)
    if missing:
        raise UnsupportedCheckpoint(
            f"it holds no replay buffer: there are no {' and no '.join(missing)} among its arrays "
            f"({quoted(origin.headers)})"
        )
    columns = {field: origin.array(name) for field, name in origin.fields.items()}
    buffer, origin.filled = buffer_of("npz", columns, origin.fields, origin.numbers(), origin)
    return buffer


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return those arrays of a `.npz` that are named and there. Raises `SacdoctorError`."""
    try:
        data = map_file(path)
        if not _opens(data):
            raise NotACheckpoint("it is no .npz of arrays that numpy.savez wrote")
        origin = _NumpyZip(data)
        found = {n: origin.read(origin.array(n)) for n in names if n in origin.headers}
        origin.refuse_changed()
        return found
    except SacdoctorError as error:
        raise error.at(path) from None


def read_observations(
    path: Path, chosen: Callable[[int], NDArray[np.int64]]
) -> dict[str, NDArray[Any]]:
    """Return some observations of a `.npy`, or of a `.npz`, where others may stand beside them.

    `chosen` says of how many rows there are which to read. Parts of a dict of observations come by
    their names, any other under the empty text. Raises `SacdoctorError` where there are none.
    """
    try:
        data = map_file(path)
        if bytes(fetched(data[: len(npy.MAGIC_PREFIX)])) == npy.MAGIC_PREFIX:
            origin: Origin = _Numpy(data)
            arrays = {"": _alone(data)}
        elif _opens(data):
            origin = zipped = _NumpyZip(data)
            arrays = {key: zipped.array(name) for key, name in _observed(zipped.headers).items()}
        else:
            raise NotACheckpoint("it is neither a .npy nor a .npz that numpy wrote")
        found = {key: _rows(origin, array, chosen) for key, array in arrays.items()}
        origin.refuse_changed()
        return found
    except SacdoctorError as error:
        raise error.at(path) from None


def _observed(names: Collection[str]) -> dict[str, str]:
    """Return which arrays of a `.npz` are observations, by the parts of a dict that they are."""
    fields = fields_among(names)
    found = {field: name for field, name in fields.items() if field.startswith(OBSERVATIONS)}
    if not found and len(names) == 1:
        return {"": next(iter(names))}
    if not found:
        raise UnsupportedCheckpoint(f"none of its arrays ({quoted(names)}) is called observations")
    return {field[len(f"{OBSERVATIONS}.") :]: name for field, name in found.items()}


class _Numpy(Origin):
    """An open `.npy`, which is only read."""

    def __init__(self, data: memoryview) -> None:
        self.data = data

    def without_oldest(self, buffer: ReplayBuffer, rows: int) -> Callable[[BinaryIO], None]:
        raise UnsupportedCheckpoint("it holds observations alone")


def _alone(data: memoryview) -> NDArray[Any]:
    header = _header(bytes(fetched(data[:_MAX_HEADER])), "it")
    if header.dtype.hasobject:
        raise UnsupportedCheckpoint("it holds Python objects; save it as numbers")
    elements = data[header.size :]
    needed = prod(header.shape) * header.dtype.itemsize
    if needed != len(elements) or not needed:
        raise CorruptCheckpoint(
            f"an array of shape {header.shape} takes {needed:,} bytes, and {len(elements):,} are "
            "there"
        )
    flat = np.frombuffer(elements, header.dtype)
    return flat.reshape(header.shape, order="F" if header.is_fortran else "C")


def _rows(
    origin: Origin, array: NDArray[Any], chosen: Callable[[int], NDArray[np.int64]]
) -> NDArray[Any]:
    if not array.ndim:
        raise UnsupportedCheckpoint("it holds a single number")
    rows = chosen(len(array))
    if not origin.is_held(array) or not array.flags.c_contiguous:
        return np.take(origin.read(array), rows, axis=0)
    taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
    origin.read_rows(array, rows, taken)
    return taken


KIND = Kind(
    name="a .npz of arrays that numpy.savez wrote", endings=(".npz",), opens=_opens, read=_read
)
