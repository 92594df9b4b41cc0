"""Files that `torch.save` wrote with single elements and learning rates changed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from sacdoctor.archive.reading import Archive, Budget
from sacdoctor.archive.rewriting import Pieces, rewrite
from sacdoctor.checkpoint.edits import ElementEdit, edited_storages
from sacdoctor.checkpoint.torch_file import is_legacy, pickle_member
from sacdoctor.errors import UnsupportedCheckpoint


def edited_torch_file(
    data: memoryview, edits: Sequence[ElementEdit], rate: float | None, budget: Budget
) -> Pieces:
    """Return a torch file in either of its formats with `edits`, and `rate` in every group.

    The format before PyTorch 1.6 is saved anew by torch. Raises `SacdoctorError` where that cannot
    be done.
    """
    if is_legacy(data):
        from sacdoctor.checkpoint.legacy import resave

        return [resave(data, edits, rate)]
    return edited_torch_archive(Archive(data, position=None, budget=budget), edits, rate)


def edited_torch_archive(
    archive: Archive, edits: Sequence[ElementEdit], rate: float | None = None
) -> Pieces:
    """Return the bytes of a torch archive with `edits`, and `rate` in every parameter group."""
    records = {edit.tensor.storage.key: edit.tensor.storage.record for edit in edits}
    replaced: dict[str, Pieces] = {}
    for key, content in edited_storages(edits).items():
        record = records[key]
        assert record is not None
        replaced[record] = [content]
    if rate is not None:
        name = pickle_member(archive)
        assert name is not None
        replaced[name] = [_with_rate(bytes(archive.read(name)), rate)]
    return rewrite(archive, replaced)


# -- the learning rate in an optimizer's pickle ------------------------------------------------

_KEY = "lr"
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINUNICODE8"}


@dataclass(slots=True)
class _Item:
    """A value on the pickle machine's stack: its text, and the bytes that put it there.

    `kept` are the memo slots that these bytes fill; a later opcode may ask for them.
    """

    start: int
    end: int
    text: str | None = None
    kept: list[int] = field(default_factory=list)


def _with_rate(pickle: bytes, rate: float) -> bytes:
    """Return an optimizer state's pickle with `rate` under every key `lr`."""
    number = b"G" + struct.pack(">d", rate)
    key = _KEY.encode()
    again = b"X" + struct.pack("<I", len(key)) + key + number
    try:
        values, recalled, frames = _values_under(pickle, _KEY)
    except (ValueError, IndexError, KeyError):
        # pickletools is stricter than unpickling, and no pickler takes back what it has written.
        raise UnsupportedCheckpoint("its pickle is not one that Python's pickler writes") from None
    if not values:
        raise UnsupportedCheckpoint("no learning rate was found in its parameter groups")
    # A frame announces its length, which may change; a pickle is as good without frames.
    changes = [(frame.start, frame.end, b"") for frame in frames]
    for value in values:
        outside = (at for slot in value.kept for at in recalled.get(slot, ()))
        if all(any(other.start <= at < other.end for other in values) for at in outside):
            changes.append((value.start, value.end, number))
        else:
            # Something else recalls a part of the old value. It stays, and the key comes again:
            # of two entries under one key a dict keeps the second.
            changes.append((value.end, value.end, again))
    for start, end, new in sorted(changes, reverse=True):
        pickle = pickle[:start] + new + pickle[end:]
    return pickle


def _values_under(pickle: bytes, key: str) -> tuple[list[_Item], dict[int, list[int]], list[_Item]]:
    """Return the values that dicts get under `key`, where each memo slot is recalled, the frames.

    Values may be numbers, numpy scalars or tensors. `pickletools.genops` only splits the bytes
    into opcodes, and this follows what they do to the stack; nothing is executed.
    """
    import pickletools

    found: list[_Item] = []
    frames: list[_Item] = []
    recalled: dict[int, list[int]] = {}
    memo: dict[int, str | None] = {}
    stack: list[_Item] = []
    marks: list[int] = []
    operations = [*pickletools.genops(pickle)]
    ends = [position or 0 for _, _, position in operations[1:]] + [len(pickle)]
    for (operation, argument, position), end in zip(operations, ends, strict=True):
        name, start = operation.name, position or 0
        if name == "MARK":
            marks.append(len(stack))
        elif name == "FRAME":
            frames.append(_Item(start, end))
        elif name in _PUTS:
            slot = len(memo) if name == "MEMOIZE" else int(str(argument))
            if name == "MEMOIZE":
                # It counts the slots itself: cut out, it would shift all later ones.
                recalled[slot] = [-1]
            memo[slot] = stack[-1].text
            stack[-1].kept.append(slot)
            stack[-1].end = end
        elif name in _GETS:
            slot = int(str(argument))
            recalled.setdefault(slot, []).append(start)
            stack.append(_Item(start, end, memo[slot]))
        else:
            taken = len(operation.stack_before)
            items: list[_Item] = []
            if pickletools.markobject in operation.stack_before:
                taken = operation.stack_before.index(pickletools.markobject)
                at = marks.pop()
                items, stack = stack[at:], stack[:at]
            below = stack[len(stack) - taken :]
            del stack[len(stack) - taken :]
            if name in ("SETITEM", "SETITEMS"):
                pairs = below[1:] or items
                found += [v for k, v in zip(pairs[::2], pairs[1::2], strict=True) if k.text == key]
            parts = below + items
            first = min((part.start for part in parts), default=start)
            text = argument if name in _TEXTS and isinstance(argument, str) else None
            kept = [slot for part in parts for slot in part.kept]
            stack += [_Item(first, end, text, kept) for _ in operation.stack_after]
    return found, recalled, frames
