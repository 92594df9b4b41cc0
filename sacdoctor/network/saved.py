"""A checkpoint written anew from what was read of it, so that SB3 itself can put it together.

SB3's `load` unpickles each value in `data` and reads `.pth` members with torch. Of this file it
gets plain JSON, and members that torch has just made of tensors that were read here.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import torch

from sacdoctor.checkpoint import Checkpoint, Tensor, optimizer_file, torch_tensor


def saved_anew(checkpoint: Checkpoint, settings: Iterable[str]) -> io.BytesIO:
    """Return an SB3 zip with the weights and optimizers of `checkpoint`.

    Its settings are these keys, without values: they are handed to SB3 as `custom_objects`.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data", json.dumps(dict.fromkeys(settings)))
        archive.writestr("policy.pth", _torch_file(OrderedDict(_live(checkpoint.tensors))))
        for name, state in checkpoint.optimizers.items():
            archive.writestr(f"{name}.pth", optimizer_file(state))
        if checkpoint.variables:
            archive.writestr("pytorch_variables.pth", _torch_file(_live(checkpoint.variables)))
    out.seek(0)
    return out


def _live(tensors: Mapping[str, Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch_tensor(tensor) for name, tensor in tensors.items()}


def _torch_file(content: Mapping[str, torch.Tensor]) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()
