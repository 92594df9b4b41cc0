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
from sacdoctor.errors import CorruptCheckpoint, UnlistedName, UnsupportedCheckpoint
from sacdoctor.files import fetched
from sacdoctor.layers import unwrapped

if TYPE_CHECKING:
    from sacdoctor.checkpoint.edits import ElementEdit


def load(data: memoryview) -> Any:
    """Return the saved containers with `Tensor` leaves; aliases share their `Storage`.

    Raises `UnsupportedCheckpoint` without torch, `CorruptCheckpoint` for what
    `torch.load(weights_only=True)` refuses.
    """
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
            raise CorruptCheckpoint("torch cannot read its old format: damaged pickles") from None
        raise UnlistedName(
            f"its pickle asks for {name[1]}, which no state dict needs; torch refuses it too"
        ) from None
    except Exception as error:  # torch raises whatever its parts raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorruptCheckpoint(f"torch cannot read its old format: {reason}") from None
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
