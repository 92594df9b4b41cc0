"""Files that `torch.save` wrote: their pickle read as plain containers with `Tensor` leaves.

Layout of the zip format: torch/serialization.py and caffe2/serialize/inline_container.cc. The
format before PyTorch 1.6 (no zip) is left to `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from sacdoctor.archive.reading import STORED, Archive
from sacdoctor.checkpoint.dtypes import DTYPES, STORAGES, DType
from sacdoctor.checkpoint.tensors import Storage, Tensor
from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.pickles.machine import ListedNames, as_key, read_pickle

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f920")
"""A pickled number, `torch.serialization.MAGIC_NUMBER`: the first bytes of the non-zip format."""


def is_legacy(data: memoryview) -> bool:
    """Return whether `data` is in the format that `torch.save` wrote before PyTorch 1.6."""
    return bytes(data[: len(LEGACY_MAGIC)]) == LEGACY_MAGIC


def pickle_member(archive: Archive) -> str | None:
    """Return the name of the member that describes the tensors, None where there is none.

    `torch.save` puts all members into one folder, and torch finds them whatever the case of their
    letters. Where anything stands beside that folder, or a `.pth` in it, which SB3 would load at
    any depth, this is no torch file.
    """
    folder = next(iter(archive), "").partition("/")[0] + "/"
    if any(not name.startswith(folder) or name.endswith(".pth") for name in archive):
        return None
    found = [name for name in archive if name[len(folder) :].lower() == "data.pkl"]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Saved:
    """What a torch archive holds.

    `content` are dicts, lists, tuples and numbers, with `Tensor` for each tensor. `is_plain`: its
    one pickle does nothing but what `torch.save` has it do for a state dict, which is proof that
    the walk in `trust` would find nothing in it.
    """

    content: Any
    is_plain: bool


def read_torch_archive(archive: Archive) -> Saved:
    """Return what `torch.save` was given.

    Raises `CorruptCheckpoint` where a claim and the bytes disagree, or names are equal but for
    their case, which torch does not tell apart; `UnlistedName` where the
    pickle wants more than a state dict needs, `UnsupportedCheckpoint` for big-endian files.
    """
    records = {name.lower(): name for name in archive}
    if len(records) < len(archive):
        raise CorruptCheckpoint("two of its names differ in the case of letters alone")
    member = pickle_member(archive)
    if member is None:
        raise CorruptCheckpoint("it holds no tensors that torch.save wrote (no data.pkl)")
    prefix = member[: -len("data.pkl")]
    order = records.get(prefix.lower() + "byteorder")
    if order is not None and bytes(archive.read(order)) != b"little":
        raise UnsupportedCheckpoint("its tensors are not little-endian")
    storages: dict[str, Storage] = {}

    def storage_of(identity: Any) -> Storage:
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise CorruptCheckpoint("its pickle refers to a storage in an unknown way")
        dtype, key, _, numel = identity[1:5]
        if not isinstance(dtype, DType) or not isinstance(key, str) or type(numel) is not int:
            raise CorruptCheckpoint("its pickle refers to a storage in an unknown way")
        if key not in storages:
            storages[key] = _open_storage(archive, prefix + "data/" + key, key, dtype, numel)
        return storages[key]

    names = _StateDictNames(_NAMES, storage_of)
    content = read_pickle(archive.read(member), names)
    pickles = sum(name.endswith(".pkl") for name in records)
    is_plain = names.is_plain and pickles == 1 and archive[member].method == STORED
    return Saved(content, is_plain)


def read_legacy(data: memoryview) -> Any:
    """Return what a non-zip torch file holds, in the same form as `Saved.content`."""
    from sacdoctor.checkpoint.legacy import load

    return load(data)


def _open_storage(archive: Archive, record: str, key: str, dtype: DType, numel: int) -> Storage:
    if record not in archive:
        raise CorruptCheckpoint(f"storage {record!r} is missing")
    if numel < 0 or archive[record].size < numel * dtype.itemsize:
        raise CorruptCheckpoint(
            f"storage {record!r} has {archive[record].size:,} bytes, too few for {numel:,} "
            f"elements of {dtype.name}"
        )
    data = archive.read(record)
    return Storage(key, dtype, numel, data, archive.position_of(record), record)


class _StateDictNames(ListedNames):
    """The short list, and whether a pickle did with its names what `torch.save` has it do.

    A listed function that comes back from a call may be called under another name, and a state
    may reach what is not the object's own: of these the short list alone says nothing.
    """

    is_plain = True

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = super().call(function, args, kwargs)
        if callable(made):
            self.is_plain = False
        return made

    def build(self, thing: Any, state: Any) -> None:
        super().build(thing, state)
        if not isinstance(state, dict) or not state.keys() <= {"_metadata"}:
            self.is_plain = False


# -- the short list: what state dicts and optimizer states refer to ----------------------------


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any, dtype: DType | None = None
) -> Tensor:
    if not isinstance(storage, Storage):
        raise CorruptCheckpoint("its pickle builds a tensor from something that is no storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise CorruptCheckpoint("its pickle builds a tensor without a shape")
    return Tensor(storage, offset, size, stride, dtype or storage.dtype)


def _tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    _requires_grad: Any,
    _hooks: Any,
    dtype: Any,
    *_rest: Any,
) -> Tensor:
    """Types without a storage class of their own lie in an untyped storage of bytes."""
    if not isinstance(storage, Storage) or not isinstance(dtype, DType):
        raise CorruptCheckpoint("its pickle builds a tensor from something that is no storage")
    numel = storage.numel * storage.dtype.itemsize // dtype.itemsize
    typed = Storage(storage.key, dtype, numel, storage.data, storage.position, storage.record)
    return _tensor(typed, offset, size, stride)


def _parameter(tensor: Any, *_rest: Any) -> Any:
    return tensor


def _from_type(function: Any, _type: Any, args: Any, _state: Any) -> Any:
    """A tensor with Python attributes of its own: the function and arguments that rebuild it."""
    if function not in (_tensor, _tensor_v3, _parameter) or not isinstance(args, tuple):
        raise CorruptCheckpoint("its pickle rebuilds a tensor in an unknown way")
    return function(*args)


def _size(items: Any = ()) -> tuple[Any, ...]:
    return tuple(items)


def _dict(items: Any = ()) -> dict[Any, Any]:
    return {as_key(key): value for key, value in items if isinstance(key, (str, int))}


def _defaultdict(_factory: Any = None, items: Any = ()) -> dict[Any, Any]:
    return _dict(items)


def _list(items: Any = ()) -> list[Any]:
    return list(items)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Protocol 2 writes bytes as text; numpy scalars hold their value so."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise CorruptCheckpoint("its pickle holds bytes in an unknown encoding")
    return text.encode("latin-1")


class _NumpyDType:
    """The numpy dtype of a scalar in a parameter group, as its code, e.g. `f8`."""

    def __init__(self, code: Any, *_rest: Any) -> None:
        if code not in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"):
            raise CorruptCheckpoint("its pickle holds a numpy scalar of an unknown type")
        self.format = {"f": {"8": "d", "4": "f", "2": "e"}, "b": {"1": "?"}}.get(
            code[0], {"8": "q", "4": "i", "2": "h", "1": "b"}
        )[code[1]]
        if code[0] == "u":
            self.format = self.format.upper()


def _numpy_scalar(dtype: Any, data: Any = b"") -> Any:
    """A learning rate that a numpy schedule computed stands as a numpy scalar in the groups."""
    if not isinstance(dtype, _NumpyDType) or not isinstance(data, bytes):
        raise CorruptCheckpoint("its pickle holds a numpy scalar in an unknown form")
    try:
        return struct.unpack("<" + dtype.format, data)[0]
    except struct.error:
        raise CorruptCheckpoint("its pickle holds a numpy scalar of a wrong size") from None


def _inert(*_args: Any) -> None:
    """Devices, layouts and hooks: nothing here depends on them."""
    return None


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _dict,
    ("collections", "defaultdict"): _defaultdict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch", "Tensor"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch.nn.parameter", "Buffer"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _inert,
    ("torch.serialization", "_get_layout"): _inert,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _NumpyDType,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
}
for _module in ("__builtin__", "builtins"):
    _NAMES |= {
        (_module, "dict"): _dict,
        (_module, "list"): _list,
        (_module, "set"): _list,
        (_module, "tuple"): _size,
    }
for _module in ("torch", "torch.storage"):
    _NAMES |= {(_module, name): DTYPES[dtype] for name, dtype in STORAGES.items()}
_NAMES |= {("torch", name): dtype for name, dtype in DTYPES.items()}
