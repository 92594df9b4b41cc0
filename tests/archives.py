"""Archives made by hand: sound ones in every layout, and ones that lie."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


@dataclass
class Entry:
    """One member, field by field. None: what an honest archive would say."""

    name: str
    data: bytes = b""
    method: int = STORED
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    compressed_size: int | None = None
    local_name: str | None = None
    offset: int | None = None
    extra: bytes = b""
    disk: int = 0


def raw_zip(entries: Iterable[Entry], *, count: int | None = None, comment: bytes = b"") -> bytes:
    """A zip archive written record by record (APPNOTE.TXT 4.3), checked by nobody."""
    body, directory, number = b"", b"", 0
    for entry in entries:
        name, local = entry.name.encode(), (entry.local_name or entry.name).encode()
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        packed = entry.data if entry.method != DEFLATED else deflated(entry.data)
        size = len(entry.data) if entry.size is None else entry.size
        short = len(packed) if entry.compressed_size is None else entry.compressed_size
        offset = len(body) if entry.offset is None else entry.offset
        sizes = (crc, short, size, len(local), 0)
        body += struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, entry.flags, entry.method, 0, 0, *sizes)
        body += local + packed
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            b"PK\1\2",
            *(20, 20, entry.flags, entry.method, 0, 0, crc, short, size),
            *(len(name), len(entry.extra), 0, entry.disk, 0, 0, offset),
        )
        directory += name + entry.extra
        number += 1
    number = number if count is None else count
    end = struct.pack(
        "<4sHHHHIIH", b"PK\5\6", 0, 0, number, number, len(directory), len(body), len(comment)
    )
    return body + directory + end + comment


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def zip_of(members: Mapping[str, bytes], method: int = STORED, zip64: bool = False) -> bytes:
    """A sound archive by the standard library."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(data)
    return out.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def saved(thing: Any, *, legacy: bool = False) -> bytes:
    """What `torch.save` writes."""
    import torch as th  # only here: the fuzzer makes archives within 512 MiB

    out = io.BytesIO()
    th.save(thing, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def torch_zip(pickle: bytes, storages: Mapping[str, bytes] | None = None) -> bytes:
    """A torch file around a pickle written by hand."""
    members = {"archive/data.pkl": pickle}
    members |= {f"archive/data/{key}": data for key, data in (storages or {}).items()}
    return zip_of(members)


def tensor_pickle(
    *,
    name: str = "layer.bias",
    storage_class: str = "FloatStorage",
    key: str = "0",
    numel: int = 4,
    offset: int = 0,
    shape: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
) -> bytes:
    """The pickle of a state dict with one tensor, in the opcodes of protocols 0 and 2."""

    def number(value: int) -> bytes:
        return b"L%dL\n" % value

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()

    storage = b"(" + text("storage") + b"ctorch\n" + storage_class.encode() + b"\n"
    storage += text(key) + text("cpu") + number(numel) + b"tQ"
    arguments = b"(" + storage + number(offset) + numbers(shape) + numbers(stride)
    arguments += b"\x89ccollections\nOrderedDict\n)Rt"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + text(name) + tensor + b"u."


def sb3_members(
    policy: Any,
    settings: Mapping[str, Any] | None = None,
    optimizers: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """The members of a checkpoint as `model.save` names them; bytes are taken as they are."""
    members = {"data": json.dumps(dict(settings or {})).encode()}
    for name, state in {"policy": policy, **(optimizers or {})}.items():
        members[f"{name}.pth"] = state if isinstance(state, bytes) else saved(state)
    members["_stable_baselines3_version"] = b"2.9.2"
    return members


def write_sb3(
    path: Path,
    policy: Any,
    settings: Mapping[str, Any] | None = None,
    optimizers: Mapping[str, Any] | None = None,
) -> Path:
    """A checkpoint around the state dict `policy`, all members stored."""
    path.write_bytes(zip_of(sb3_members(policy, settings, optimizers)))
    return path
