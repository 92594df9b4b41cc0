"""What PyTorch itself says about a checkpoint: the measure that scans are held to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch as th


def state_dict(path: Path, member: str = "policy.pth") -> dict[str, th.Tensor]:
    """The state dict in an SB3 zip, as `torch.load` gives it."""
    with zipfile.ZipFile(path) as archive:
        loaded = _load(archive.read(member))
    assert all(isinstance(value, th.Tensor) for value in loaded.values())
    return dict(loaded)


def learning_rates(path: Path) -> dict[str, float]:
    """The first group's `lr` of every optimizer in an SB3 zip."""
    with zipfile.ZipFile(path) as archive:
        return {
            member.removesuffix(".pth"): _load(archive.read(member))["param_groups"][0]["lr"]
            for member in archive.namelist()
            if member.endswith("optimizer.pth")
        }


def _load(data: bytes) -> Any:
    return th.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def distinct(tensors: Mapping[str, th.Tensor]) -> Iterator[tuple[str, th.Tensor]]:
    """The tensors, each piece of memory under its first name only."""
    seen = set()
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        yield name, tensor


def zeros(tensor: th.Tensor) -> int:
    return int((tensor == 0).sum())


def counts(tensors: Mapping[str, th.Tensor]) -> tuple[int, int, int]:
    """Tensors, elements and zeros, aliases once."""
    own = [tensor for _, tensor in distinct(tensors)]
    return len(own), sum(t.numel() for t in own), sum(map(zeros, own))


def all_zero(tensors: Mapping[str, th.Tensor]) -> set[str]:
    """Names of the biases that hold nothing but zeros."""
    return {
        name
        for name, tensor in distinct(tensors)
        if "bias" in name.rpartition(".")[2] and tensor.numel() and not tensor.any()
    }
