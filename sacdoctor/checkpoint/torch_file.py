"""Files that `torch.save` writes: their pickle read as plain containers with `Tensor` leaves.

Layout of the zip format: torch/serialization.py and caffe2/serialize/inline_container.cc. That
before PyTorch 1.6, which is no zip, is another (`legacy`).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sacdoctor.archive import STORED, Archive
from sacdoctor.checkpoint.dtypes import DType
from sacdoctor.checkpoint.tensors import Storage
from sacdoctor.checkpoint.torch_names import state_dict_names
from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.pickles import Machine, WalkBudget


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


class Saved(Struct, frozen=True):
    """What a torch archive holds.

    `content` are dicts, lists, tuples and numbers, with `Tensor` for each tensor. `is_plain`: its
    one pickle does nothing but what `torch.save` has it do for a state dict, which is proof that
    the walk in `trust` would find nothing in it.
    """

    content: Any
    is_plain: bool


def read_torch_archive(
    archive: Archive, budget: WalkBudget | None = None, *, opaque: bool = False
) -> Saved:
    """Return what `torch.save` was given.

    `budget` is that of the file that the archive stands in, as `read_pickle` takes it. With
    `opaque` an object of any other class than a state dict needs is `Made`, and reading goes on.

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

    names = state_dict_names(storage_of, opaque=opaque)
    data = archive.read(member)
    machine = Machine(data, names, budget or WalkBudget.of(len(data)))
    content = machine.run()
    pickles = sum(name.endswith(".pkl") for name in records)
    is_written = pickles == 1 and archive[member].method == STORED
    is_alone = not machine.rare and not machine.hashes and machine.at == len(data)
    is_plain = names.is_plain and is_written and is_alone
    return Saved(content, is_plain)


def _open_storage(archive: Archive, record: str, key: str, dtype: DType, numel: int) -> Storage:
    if record not in archive:
        raise CorruptCheckpoint(f"storage {record!r} is missing")
    if numel < 0 or archive[record].size < numel * dtype.itemsize:
        raise CorruptCheckpoint(
            f"storage {record!r} has {archive[record].size:,} bytes, too few for {numel:,} "
            f"elements of {dtype.name}"
        )
    data = archive.view(record)
    return Storage(key, dtype, numel, data, archive.position_of(record), record)
