"""Files that `torch.save` wrote before PyTorch 1.6: pickles in a row, then the bytes of storages.

Source: torch/serialization.py, `_legacy_save` and `_legacy_load`. The bytes are little-endian
whatever machine wrote them, and before those of each storage stands how many elements it has
(torch/csrc/serialization.cpp, `THPStorage_writeFileRaw`). The tar archive of PyTorch before 0.1.10
is another format, which is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.checkpoint.dtypes import DType
from sacdoctor.checkpoint.tensors import Storage
from sacdoctor.checkpoint.torch_names import state_dict_names
from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.files import fetched
from sacdoctor.pickles import ListedNames, Machine, WalkBudget

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The first pickle, `torch.serialization.MAGIC_NUMBER`: by it the format is told."""
_VERSION = 1001
_PLAIN = ListedNames({}, reader="torch file")
"""What reads the pickles around the one of the object: they hold no names."""
_COUNT = 8
"""Bytes of the number before a storage."""


def is_legacy(data: memoryview) -> bool:
    """Return whether `data` is in the format that `torch.save` wrote before PyTorch 1.6."""
    return bytes(fetched(data[: len(LEGACY_MAGIC)])) == LEGACY_MAGIC


class LegacyFile(Struct, frozen=True):
    """What stands where in such a file.

    From `start` to `end` stands the pickle of the saved object, at `places` the values of the
    `storages` that it refers to. Both are by their keys.
    """

    start: int
    end: int
    storages: Mapping[str, Storage]
    places: Mapping[str, int]


def legacy_file(data: memoryview, budget: WalkBudget, *, opaque: bool = True) -> LegacyFile:
    """Return what stands where, once all of it is found to be there; see `read_legacy`."""
    version, at = _read(data, _PLAIN, budget, len(LEGACY_MAGIC))
    if type(version) is not int or version != _VERSION:
        raise UnsupportedCheckpoint("it is in a format that torch does not read")
    _system, start = _read(data, _PLAIN, budget, at)
    claimed: dict[str, Storage] = {}

    def claim(identity: Any) -> Storage:
        key, dtype, numel = _claim(identity)
        return claimed.setdefault(key, Storage(key, dtype, numel, memoryview(b"")))

    _, end = _read(data, _names(claim, opaque=opaque), budget, start)
    keys, at = _read(data, _PLAIN, budget, end)
    places = _places(data, at, keys, claimed)
    storages = {key: _filled(claimed[key], data, place) for key, place in places.items()}
    return LegacyFile(start, end, storages, places)


def read_legacy(data: memoryview, budget: WalkBudget | None = None, *, opaque: bool = False) -> Any:
    """Return what `torch.save` was given, in the form of `read_torch_archive`.

    `budget` is that of the file that it stands in, as `read_pickle` takes it. Where the values
    stand is known behind the pickle alone, so that it is walked twice. With `opaque` an object of
    any other class than a state dict needs is `Made`, and reading goes on.

    Raises `CorruptCheckpoint` where torch does, and where values are missing, which torch leaves to
    chance; `UnlistedName` where the pickle wants more than a state dict needs.
    """
    budget = budget or WalkBudget.of(len(data))
    file = legacy_file(data, budget, opaque=opaque)
    views: dict[str, Storage] = {}

    def storage_of(identity: Any) -> Storage:
        key, dtype, _ = _claim(identity)
        view = identity[5] if len(identity) > 5 else None
        if view is None:
            return file.storages[key]
        part = _part(file.storages[key], dtype, view)
        return views.setdefault(part.key, part)

    return _read(data, _names(storage_of, opaque=opaque), budget, file.start)[0]


def _read(data: memoryview, names: ListedNames, budget: WalkBudget, at: int) -> tuple[Any, int]:
    """Return what the pickle at `at` describes, and where it ends."""
    machine = Machine(data, names, budget, at)
    return machine.run(), machine.at


def _names(storage_of: Callable[[Any], Storage], *, opaque: bool) -> ListedNames:
    def persistent(identity: Any) -> Any:
        # A class of modules, with its source beside it.
        if opaque and isinstance(identity, tuple) and len(identity) > 1 and identity[0] == "module":
            return identity[1]
        return storage_of(identity)

    return state_dict_names(persistent, opaque=opaque)


def _claim(identity: Any) -> tuple[str, DType, int]:
    """Return the key of a storage, its type and how many elements it should have."""
    match identity:
        case ("storage", DType() as dtype, str(key), _, numel, *_) if _is_count(numel):
            return key, dtype, numel
    raise CorruptCheckpoint("its pickle refers to a storage in an unknown way")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _places(data: memoryview, at: int, keys: Any, claimed: Mapping[str, Storage]) -> dict[str, int]:
    """Return where the values of each storage start; from `at` on they stand in order of `keys`."""
    places: dict[str, int] = {}
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in claimed or key in places:
            raise CorruptCheckpoint("it holds a storage that its pickle does not refer to")
        wanted = claimed[key].numel
        count = int.from_bytes(fetched(data[at : at + _COUNT]), "little")
        places[key] = at + _COUNT
        at = places[key] + wanted * claimed[key].dtype.itemsize
        if at > len(data):
            raise CorruptCheckpoint("it ends inside the values of its tensors: it was cut off")
        if count != wanted:
            raise CorruptCheckpoint(
                f"storage {key!r} has {count:,} elements, and its pickle says {wanted:,}"
            )
    if len(places) < len(claimed):
        raise CorruptCheckpoint("the values of some of its tensors are missing: it was cut off")
    return places


def _filled(storage: Storage, data: memoryview, at: int) -> Storage:
    return replace(storage, data=data[at : at + storage.numel * storage.dtype.itemsize])


def _part(whole: Storage, dtype: DType, view: Any) -> Storage:
    """Return the part of a storage that a view of it sees: PyTorch before 0.4 had such."""
    match view:
        case (str(key), first, numel) if (
            dtype is whole.dtype and _is_count(first) and _is_count(numel)
        ):
            size = dtype.itemsize
            data = whole.data[first * size : (first + numel) * size]
            if len(data) == numel * size:
                return Storage(key, dtype, numel, data)
    raise CorruptCheckpoint("its pickle refers to a part of a storage in an unknown way")
