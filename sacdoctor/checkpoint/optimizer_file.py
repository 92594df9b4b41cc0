"""An optimizer's state as the torch file that `torch.save` makes of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sacdoctor.checkpoint.edits import ElementEdit
from sacdoctor.checkpoint.optimizer_state import OptimizerState
from sacdoctor.checkpoint.tensors import Tensor
from sacdoctor.errors import UnsupportedCheckpoint

if TYPE_CHECKING:
    import torch


def optimizer_file(
    state: OptimizerState, edits: Sequence[ElementEdit] = (), rate: float | None = None
) -> bytes:
    """Return the file of a state with `edits`, and the learning rate `rate` in every group.

    The values are those that were read here: torch unpickles nothing. The same state gives the same
    bytes. Raises `UnsupportedCheckpoint` without torch.
    """
    try:
        import torch
    except ImportError as error:
        raise UnsupportedCheckpoint(f"only torch writes its optimizers anew ({error})") from None
    by_place: dict[tuple[str | int, ...], list[ElementEdit]] = {}
    for edit in edits:
        by_place.setdefault(edit.path, []).append(edit)
    moments = {
        number: {
            key: _saved(value, by_place.get(("state", number, key), ()))
            for key, value in kept.items()
        }
        for number, kept in state.moments.items()
    }
    changed: Mapping[str, Any] = {} if rate is None else {"lr": rate}
    groups = [
        {**{k: _saved(v) for k, v in group.options.items()}, **changed, "params": [*group.params]}
        for group in state.groups
    ]
    out = io.BytesIO()
    torch.save({"state": moments, "param_groups": groups}, out)
    return out.getvalue()


def _saved(value: Any, edits: Sequence[ElementEdit] = ()) -> Any:
    """Return what torch is to save for a value of an `OptimizerState`."""
    if isinstance(value, Tensor):
        return torch_tensor(value, edits)
    return type(value)(map(_saved, value)) if isinstance(value, (list, tuple)) else value


def torch_tensor(tensor: Tensor, edits: Sequence[ElementEdit] = ()) -> torch.Tensor:
    """Return a tensor of the file, with `edits`, as PyTorch's: a copy."""
    import torch

    dtype = getattr(torch, tensor.dtype.name)
    if not tensor.numel:
        return torch.empty(tensor.shape, dtype=dtype)
    elements = tensor.values.reshape(-1).copy()
    for edit in edits:
        elements[edit.positions] = edit.values
    # By their bytes: numpy has no bfloat16.
    return torch.frombuffer(bytearray(elements.tobytes()), dtype=dtype).reshape(tensor.shape)
