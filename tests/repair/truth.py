"""What PyTorch and the standard library say about a repair: the file before and after."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch as th

from tests.torch_truth import distinct

RECORD = "sacdoctor.json"
Tensors = Mapping[str, th.Tensor]


def load(data: bytes) -> Any:
    """What `torch.load` gives for the bytes of a `.pth` file."""
    return th.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def member(path: Path, name: str) -> Any:
    """What `torch.load` gives for a member of an SB3 zip."""
    with zipfile.ZipFile(path) as archive:
        return load(archive.read(name))


def bits(tensor: th.Tensor) -> th.Tensor:
    """The elements' bytes, one row per element: equal where the tensors are, NaN and −0.0 too."""
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(th.uint8).reshape(flat.numel(), flat.element_size())


def same(one: th.Tensor, other: th.Tensor) -> bool:
    """Whether two tensors are one bit for bit."""
    return (one.shape, one.dtype) == (other.shape, other.dtype) and bool(
        (bits(one) == bits(other)).all()
    )


def is_zero(tensor: th.Tensor) -> th.Tensor:
    return (tensor == 0).reshape(-1)


def dead_biases(tensors: Tensors, share: float = 0.1) -> set[str]:
    """Names of the biases with more than this share of zeros, normalisations left out."""
    return {
        name
        for name, tensor in distinct(tensors)
        if "bias" in name.rpartition(".")[2]
        and not _is_norm(tensors, name)
        and float(is_zero(tensor).double().mean()) > share
    }


def _is_norm(tensors: Tensors, name: str) -> bool:
    layer = name.rpartition(".")[0]
    weights = [f"{layer}.weight", f"{layer}.scale"]
    return any(weight in tensors and tensors[weight].ndim == 1 for weight in weights)


def assert_only_zeros_changed(before: Tensors, after: Tensors) -> None:
    """Names, order, shapes and types are the same, and so is every element that was not 0."""
    assert list(before) == list(after)
    for name, old in before.items():
        new = after[name]
        assert (old.shape, old.dtype) == (new.shape, new.dtype), name
        kept = ~is_zero(old)
        assert bool((bits(old)[kept] == bits(new)[kept]).all()), name


def assert_surgical(source: Path, output: Path, touched: Iterable[str]) -> None:
    """Only `touched` members differ, and within those only storages; the rest is as it was."""
    touched = set(touched)
    before, after = _entries(source.read_bytes()), _entries(output.read_bytes())
    assert list(after)[: len(before)] == list(before)
    assert set(after) - set(before) <= {RECORD}
    for name, (info, raw) in before.items():
        new_info, new_raw = after[name]
        assert _facts(new_info) == _facts(info), name
        if name not in touched | {RECORD}:
            assert new_raw == raw, name
            assert new_info.CRC == info.CRC, name
        elif name.endswith(".pth"):
            assert new_raw != raw, name
            _assert_storages_alone_differ(_content(source, name), _content(output, name))


def assert_sound(path: Path) -> None:
    """Every checksum holds, outside and inside, and torch reads every member."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            if not name.endswith(".pth"):
                continue
            data = archive.read(name)
            load(data)
            if data[:2] == b"PK":
                with zipfile.ZipFile(io.BytesIO(data)) as inner:
                    assert inner.testzip() is None


def _assert_storages_alone_differ(before: bytes, after: bytes) -> None:
    assert len(before) == len(after)
    old, new = _entries(before), _entries(after)
    assert list(old) == list(new)
    for name, (info, raw) in old.items():
        assert _facts(new[name][0]) == _facts(info)
        assert new[name][0].header_offset == info.header_offset  # and so is the alignment
        if "/data/" not in name:
            assert new[name][1] == raw, name


def _content(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def _entries(data: bytes) -> dict[str, tuple[zipfile.ZipInfo, bytes]]:
    """Per member: what the directory says, and its bytes as they stand in the archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {}
        for info in archive.infolist():
            at = info.header_offset
            lengths = data[at + 26 : at + 30]
            start = at + 30 + int.from_bytes(lengths[:2], "little")
            start += int.from_bytes(lengths[2:], "little")
            found[info.filename] = info, data[start : start + info.compress_size]
        return found


def _facts(info: zipfile.ZipInfo) -> tuple[Any, ...]:
    return (
        *(info.filename, info.date_time, info.compress_type, info.comment),
        *(info.extra, info.flag_bits, info.create_system, info.create_version),
        *(info.external_attr, info.internal_attr),
    )
