"""The torch format before PyTorch 1.6, read by torch: the one place where a scan needs it."""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from sacdoctor.checkpoint.dtypes import DTYPES
from sacdoctor.checkpoint.tensors import Storage, Tensor
from sacdoctor.errors import (
    CheckpointError,
    CorruptCheckpoint,
    OverBudget,
    UnlistedName,
    UnsupportedCheckpoint,
)
from sacdoctor.files import fetched
from sacdoctor.layers import unwrapped
from sacdoctor.pickles import Machine, Made, Name, Symbols, WalkBudget, as_key

if TYPE_CHECKING:
    from sacdoctor.checkpoint.edits import ElementEdit


_CANNOT = "torch cannot read its old format"
_PICKLES = 5
"""Magic number, protocol, system, the object, keys of its storages: torch/serialization.py."""
_DEARER = 2
"""Times what an opcode takes here that it takes torch, once more for what torch itself takes."""
_HASHING = frozenset(
    Name(module, kind)
    for module in ("builtins", "__builtin__", "collections")
    for kind in ("set", "frozenset", "Counter")
)


class _Checked(Machine):
    """The machine that torch's own is run behind: whatever it would hash is short and flat."""

    def _set_items(self, target: Any, pairs: list[Any]) -> None:
        self.hashes = self.hashes or not all(map(_is_flat, pairs[::2]))
        super()._set_items(target, pairs)


class _CheckedNames(Symbols):
    """Its vocabulary: anything may be named, and torch says whether it takes that."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Made:
        if isinstance(function, Name) and function in _HASHING:
            for items in args:
                if not isinstance(items, (list, tuple)) or not all(map(_is_flat, items)):
                    raise CorruptCheckpoint("its pickle makes a set of what no state dict holds")
        return Made(function, args, kwargs)


def _is_flat(key: Any) -> bool:
    return as_key(key) is key


def _refuse_what_has_no_end(data: memoryview, budget: WalkBudget) -> None:
    """Walk the pickles as torch will: it sets itself no limits, and Python has one for its stack.

    Hashes of tuples that nest, of which it takes a few hundred bytes, take for ever or end the
    process.
    """
    at, operations, memory = 0, budget.operations, budget.memory
    for _ in range(_PICKLES):
        machine = _Checked(data, _CheckedNames(), budget, at)
        try:
            machine.run()
        except OverBudget:
            raise
        except CheckpointError as error:
            raise CorruptCheckpoint(f"{_CANNOT}: {error.reason}") from None
        if machine.hashes:
            raise CorruptCheckpoint("its pickle has keys that no state dict has")
        at = machine.at
    budget.take(_DEARER * (operations - budget.operations))
    budget.hold(_DEARER * (memory - budget.memory))


def load(data: memoryview, budget: WalkBudget | None = None) -> Any:
    """Return the saved containers with `Tensor` leaves; aliases share their `Storage`.

    `budget` is that of the file that they stand in, as `read_pickle` takes it.

    Raises `UnsupportedCheckpoint` without torch, `CorruptCheckpoint` for what
    `torch.load(weights_only=True)` refuses, and for what would take it too long.
    """
    _refuse_what_has_no_end(data, budget or WalkBudget.of(len(data)))
    try:
        import torch
    except ImportError as error:
        raise UnsupportedCheckpoint(
            f"it is in the format before PyTorch 1.6, which only torch reads ({error})"
        ) from None
    storages: dict[int, Storage] = {}
    converted: dict[int, Any] = {}

    def convert(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return record(value)
        if not isinstance(value, (dict, list)):
            return value
        # Each once: a list may hold another twice, which holds another twice, or hold itself.
        if id(value) not in converted:
            made: Any = {} if isinstance(value, dict) else []
            converted[id(value)] = made
            if isinstance(value, dict):
                made.update((key, convert(item)) for key, item in value.items())
            else:
                made.extend(map(convert, value))
        return converted[id(value)]

    def record(tensor: torch.Tensor) -> Tensor:
        dtype = DTYPES.get(str(tensor.dtype).removeprefix("torch."))
        if dtype is None or tensor.layout is not torch.strided:
            raise UnsupportedCheckpoint(f"it holds a tensor of type {tensor.dtype}")
        raw = tensor.untyped_storage()
        key = raw.data_ptr()
        if key not in storages:
            data = torch.empty(0, dtype=torch.uint8).set_(raw).numpy().tobytes()
            storages[key] = Storage(str(key), dtype, len(data) // dtype.itemsize, memoryview(data))
        shape, stride = tuple(tensor.shape), tuple(tensor.stride())
        return Tensor(storages[key], int(tensor.storage_offset()), shape, stride, dtype)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a damaged file, which is refused anyway
            saved = torch.load(io.BytesIO(fetched(data)), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text begins with the advice to load the file without this safeguard.
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if name is None:
            raise CorruptCheckpoint(f"{_CANNOT}: damaged pickles") from None
        raise UnlistedName(
            f"its pickle asks for {name[1]}, which no state dict needs; torch refuses it too"
        ) from None
    except Exception as error:  # torch raises whatever its parts raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorruptCheckpoint(f"{_CANNOT}: {reason}") from None
    try:
        return convert(saved)
    except RecursionError:
        raise CorruptCheckpoint("it nests deeper than any state dict does") from None


def resave(
    data: memoryview,
    edits: Sequence[ElementEdit],
    rate: float | None,
    wrappers: Collection[str] = (),
) -> bytes:
    """Return the saved object with `edits` and the learning rate in it, in the zip format.

    `wrappers` go from the names of a state dict.

    The old format names its storages by memory address; the zip format gives the same bytes for
    the same content. PyTorch reads it since 1.4.
    """
    import torch

    saved = torch.load(io.BytesIO(fetched(data)), map_location="cpu", weights_only=True)
    for edit in edits:
        tensor = saved
        for key in edit.path:
            tensor = tensor[key]
        values = torch.from_numpy(edit.values.copy())
        if edit.tensor.dtype.zero_mask:
            values = values.view(tensor.dtype)
        with torch.no_grad():
            # `put_` counts elements in C order whatever the strides, and leaves all others.
            tensor.put_(torch.from_numpy(edit.positions), values)
    for group in saved["param_groups"] if rate is not None else ():
        group["lr"] = rate
    if wrappers:
        saved = OrderedDict((unwrapped(name, wrappers), value) for name, value in saved.items())
    out = io.BytesIO()
    torch.save(saved, out)
    return out.getvalue()
