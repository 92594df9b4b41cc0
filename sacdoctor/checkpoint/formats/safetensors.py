"""A file of safetensors: the length of a header, the header in JSON, then the tensors' bytes.

The header says of each tensor its type, its shape and where it lies; it is checked as a whole, by
the rules of the library that writes such files, before anything is handed out. Source:
https://github.com/huggingface/safetensors, "Format" in its README, and
safetensors/src/tensor.rs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any

from msgspec import Struct

from sacdoctor.archive import Pieces
from sacdoctor.checkpoint.dtypes import DTYPES, DType
from sacdoctor.checkpoint.edits import Edits, edited_in_place
from sacdoctor.checkpoint.formats.interface import Container, Contents
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.tensors import MAX_DIMENSIONS, Storage, Tensor, contiguous_stride
from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.files import fetched

MAX_HEADER = 100_000_000
"""Bytes of a header; the library reads no longer one."""
MAX_VALUES = 2_000_000
"""Values in a header; a tensor takes about eight, and an empty list 20 times its text in memory."""
_LENGTH = 8
_METADATA = "__metadata__"

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
"""PyTorch's names for the element types (safetensors/torch.py, `_TYPES`)."""
_NOT_READ = frozenset(("F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4"))
"""Types that the library knows, and whose zeros nobody here has learnt to count."""


class _Entry(Struct, frozen=True):
    """What the header says of one tensor; `start` and `end` count bytes behind the header."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    start: int
    end: int


class Safetensors(Contents):
    """A safetensors file over its bytes; no two of its tensors share any."""

    def __init__(self, buffer: memoryview, _limits: Limits) -> None:
        self._buffer = buffer
        self._tensors = _read(buffer)

    def tensors(self) -> Mapping[str, Tensor]:
        return self._tensors

    def edited(self, edits: Edits) -> Pieces:
        return edited_in_place(self._buffer, edits.elements)


def _read(buffer: memoryview) -> dict[str, Tensor]:
    """Return the tensors in the order of the header, once all of it is found to be sound.

    Raises `CorruptCheckpoint` where it is not: the bytes behind the header must belong to one
    tensor each, from the first to the last, and be as many as its type and shape take.
    """
    size = int.from_bytes(buffer[:_LENGTH], "little")
    if _LENGTH + size > len(buffer):
        raise CorruptCheckpoint(
            f"its header of {size:,} bytes runs past the end of the file, which was cut off"
        )
    entries = _entries(_header(bytes(fetched(buffer[_LENGTH : _LENGTH + size]))))
    data = buffer[_LENGTH + size :]
    at = 0
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != at or entry.end < at:
            raise CorruptCheckpoint(
                f"tensor {entry.name!r} should start at byte {at:,} of the data and claims bytes "
                f"{entry.start:,} to {entry.end:,}: there are gaps, or tensors overlap"
            )
        needed = entry.dtype.itemsize * prod(entry.shape)
        if entry.end - entry.start != needed:
            raise CorruptCheckpoint(
                f"tensor {entry.name!r} claims {entry.end - entry.start:,} bytes, but its type and "
                f"shape take {needed:,}"
            )
        at = entry.end
    if at != len(data):
        raise CorruptCheckpoint(
            f"its tensors take {at:,} bytes, but {len(data):,} follow the header: the file was cut "
            "off, or something was put behind it"
        )
    return {entry.name: _tensor(entry, data, _LENGTH + size) for entry in entries}


def _tensor(entry: _Entry, data: memoryview, data_at: int) -> Tensor:
    own, position = data[entry.start : entry.end], data_at + entry.start
    storage = Storage(entry.name, entry.dtype, prod(entry.shape), own, position)
    return Tensor(storage, 0, entry.shape, contiguous_stride(entry.shape), entry.dtype)


# -- the header --------------------------------------------------------------------------------


def _header(text: bytes) -> dict[str, Any]:
    """Return the header's JSON object; a name that stands twice in any object is refused."""
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise CorruptCheckpoint("its header holds more values than any state dict needs")
    try:
        header = json.loads(
            text.decode(), object_pairs_hook=_object, parse_int=_whole, parse_constant=_refused
        )
    except RecursionError:
        raise CorruptCheckpoint("its header nests deeper than any state dict needs") from None
    except ValueError as error:
        raise CorruptCheckpoint(f"its header is not the JSON that it should be: {error}") from None
    if not isinstance(header, dict):
        raise CorruptCheckpoint("its header is not a JSON object")
    return header


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return made


def _whole(digits: str) -> int:
    if digits == "-0":
        raise ValueError("-0 is no whole number there")
    return int(digits)


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _entries(header: Mapping[str, Any]) -> list[_Entry]:
    metadata = header.get(_METADATA)
    texts = [*metadata.keys(), *metadata.values()] if isinstance(metadata, dict) else []
    if metadata is not None and not (isinstance(metadata, dict) and all(map(_is_text, texts))):
        raise CorruptCheckpoint(f"its {_METADATA} is no map of texts to texts")
    return [_entry(name, said) for name, said in header.items() if name != _METADATA]


def _entry(name: str, said: Any) -> _Entry:
    """Return what the header says of one tensor; fields that the format does not know are nothing.

    Raises `UnsupportedCheckpoint` for an element type that is not read here.
    """
    fields = said if isinstance(said, dict) else {}
    dtype, shape, span = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if isinstance(dtype, str) and dtype in _NOT_READ:
        raise UnsupportedCheckpoint(f"tensor {name!r} is of type {dtype}, which is not read here")
    match dtype, shape, span:
        case str(), [*sizes], [start, end] if (
            dtype in _DTYPES and _is_text(name) and _are_counts([*sizes, start, end])
        ):
            if len(sizes) > MAX_DIMENSIONS:
                raise CorruptCheckpoint(f"tensor {name!r} has {len(sizes):,} dimensions")
            return _Entry(name, DTYPES[_DTYPES[dtype]], tuple(sizes), start, end)
    raise CorruptCheckpoint(
        f"what its header says of {name!r} is not a known type, a shape and two offsets"
    )


def _are_counts(values: list[Any]) -> bool:
    return all(type(n) is int and 0 <= n < 2**64 for n in values)


def _is_text(value: Any) -> bool:
    """Return whether it is a text of whole characters; JSON can spell half of one, `\\ud800`."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _opens(buffer: memoryview) -> bool:
    """Return whether the bytes begin with a header's length and a header.

    What begins as a zip is none: the length of a header may spell that, and SB3 would open the zip.
    """
    if len(buffer) <= _LENGTH or bytes(buffer[:2]) == b"PK":
        return False
    size = int.from_bytes(buffer[:_LENGTH], "little")
    return size <= MAX_HEADER and bytes(buffer[_LENGTH : _LENGTH + 1]) == b"{"


CONTAINER = Container(
    name="a safetensors file",
    endings=(".safetensors",),
    opens=_opens,
    contents=Safetensors,
)
