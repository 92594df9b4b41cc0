"""Changes to a checkpoint's bytes: single elements of tensors, learning rates, settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sacdoctor.archive.reading import Archive
from sacdoctor.archive.rewriting import Pieces, rewrite
from sacdoctor.checkpoint.checkpoint import Checkpoint
from sacdoctor.checkpoint.element_edit import BARE, ElementEdit
from sacdoctor.checkpoint.rate_edit import with_rate
from sacdoctor.checkpoint.tensors import Tensor
from sacdoctor.checkpoint.torch_file import is_legacy, pickle_member
from sacdoctor.errors import CorruptCheckpoint, SacdoctorError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Edits:
    """What is to change. `settings` are keys of `data` with their new number; `removed` go."""

    elements: Sequence[ElementEdit] = ()
    learning_rate: float | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    removed: Sequence[str] = ()
    added: Mapping[str, bytes] = field(default_factory=dict)


def edited(checkpoint: Checkpoint, edits: Edits) -> Pieces:
    """Return the bytes of the checkpoint's file with `edits` carried out, all others as they are.

    A learning rate goes into `data` (a pickled schedule gives way to the number, and `lr_schedule`
    goes, which SB3 builds anew on loading) and into every parameter group. Members in the format
    before PyTorch 1.6 are saved anew by torch. Raises `SacdoctorError` where that cannot be done.
    """
    by_member: dict[str, list[ElementEdit]] = {}
    for edit in edits.elements:
        by_member.setdefault(edit.member, []).append(edit)
    if checkpoint.is_bare:
        return _bare(checkpoint, by_member.get(BARE, []))
    archive = checkpoint.archive
    rates: dict[str, float] = {}
    if edits.learning_rate is not None:
        rates = {f"{name}.pth": edits.learning_rate for name in checkpoint.optimizers}
    replaced: dict[str, Pieces] = {}
    for member in dict.fromkeys([*by_member, *rates]):
        try:
            replaced[member] = _torch_member(
                checkpoint, member, by_member.get(member, []), rates.get(member)
            )
        except SacdoctorError as error:
            raise error.within(member).at(checkpoint.path) from None
    numbers, removed = dict(edits.settings), list(edits.removed)
    if edits.learning_rate is not None:
        numbers["learning_rate"] = edits.learning_rate
    if "learning_rate" in numbers:
        removed.append("lr_schedule")
    if numbers or removed:
        replaced["data"] = [_settings(bytes(archive.read("data")), numbers, removed)]
    present: dict[str, Pieces] = {
        name: [content] for name, content in edits.added.items() if name in archive
    }
    new = {name: content for name, content in edits.added.items() if name not in archive}
    return rewrite(archive, {**replaced, **present}, new)


def _bare(checkpoint: Checkpoint, edits: Sequence[ElementEdit]) -> Pieces:
    if checkpoint.torch_archive is None:
        from sacdoctor.checkpoint.legacy import resave

        return [resave(checkpoint.buffer, edits, None)]
    return rewrite(checkpoint.torch_archive, _records(checkpoint.torch_archive, edits))


def _torch_member(
    checkpoint: Checkpoint, member: str, edits: Sequence[ElementEdit], rate: float | None
) -> Pieces:
    data = checkpoint.archive.read(member)
    if is_legacy(data):
        from sacdoctor.checkpoint.legacy import resave

        return [resave(data, edits, rate)]
    inner = Archive(data, position=None, budget=checkpoint.archive.budget)
    replaced = _records(inner, edits)
    if rate is not None:
        name = pickle_member(inner)
        assert name is not None
        pickle = bytes(inner.read(name))
        replaced[name] = [with_rate(pickle, rate, checkpoint.pickle_budget)]
    return rewrite(inner, replaced)


def _records(archive: Archive, edits: Sequence[ElementEdit]) -> dict[str, Pieces]:
    """Return the storage records that `edits` change, with their new content."""
    contents: dict[str, bytearray] = {}
    for edit in edits:
        record, tensor = edit.tensor.storage.record, edit.tensor
        assert record is not None
        content = contents.setdefault(record, bytearray(archive.read(record)))
        elements = np.frombuffer(content, dtype=tensor.dtype.code, count=tensor.storage.numel)
        elements[_storage_positions(tensor, edit.positions)] = edit.values
    return {record: [bytes(content)] for record, content in contents.items()}


def _storage_positions(tensor: Tensor, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    if tensor.is_contiguous:
        return positions + tensor.offset
    indices = np.unravel_index(positions, tensor.shape)
    steps = zip(indices, tensor.stride, strict=True)
    total = tensor.offset + sum(index * step for index, step in steps)
    return np.asarray(total, dtype=np.int64)


# -- numbers in `data` -------------------------------------------------------------------------


def _settings(data: bytes, numbers: Mapping[str, float], removed: Sequence[str]) -> bytes:
    """Return the JSON text with these numbers under their keys and without the keys `removed`.

    All else stays as it was written.
    """
    # As json.loads reads bytes: a byte order mark or UTF-16 is nothing SB3 writes, but legal.
    encoding = json.detect_encoding(data)
    text = data.decode(encoding, "surrogatepass")
    spans = _members(text)
    missing = [key for key in numbers if key not in spans]
    if missing:
        raise CorruptCheckpoint(f"its `data` has no {missing[0]!r} to correct")
    changes = [(*spans[key][1:], json.dumps(number)) for key, number in numbers.items()]
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    for key in removed:
        spans = _members(text)
        if key in spans:
            start, end = _with_comma(text, spans, key)
            text = text[:start] + text[end:]
    return text.encode(encoding, "surrogatepass")


def _members(text: str) -> dict[str, tuple[int, int, int]]:
    """Return, per key of a JSON object, where the key starts and its value starts and ends."""
    decoder, space = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")

    def skip(at: int) -> int:
        found = space.match(text, at)
        assert found is not None
        return found.end()

    found: dict[str, tuple[int, int, int]] = {}
    at = skip(0) + 1
    while text[skip(at)] != "}":
        key_at = skip(at)
        key, at = decoder.raw_decode(text, key_at)
        value_at = skip(skip(at) + 1)
        _, end = decoder.raw_decode(text, value_at)
        found[key] = (key_at, value_at, end)
        at = skip(end)
        at += text[at] == ","
    return found


def _with_comma(text: str, spans: Mapping[str, tuple[int, int, int]], key: str) -> tuple[int, int]:
    """Return what to cut so that `key`, its value and one comma are gone."""
    start, _, end = spans[key]
    earlier = [other_end for _, _, other_end in spans.values() if other_end <= start]
    if earlier:
        return max(earlier), end
    later = [other_start for other_start, _, _ in spans.values() if other_start >= end]
    return start, min(later, default=end)
