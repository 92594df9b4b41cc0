"""The names in a state dict's pickle: others in their place, all else as it was."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

from sacdoctor.layers import unwrapped

_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")


def without_wrappers(pickle: bytes, wrappers: Collection[str]) -> bytes:
    """Return a state dict's pickle with the wrappers at these paths gone from every text in it.

    The paths end in names that stand for nothing else in there; the pickle must have been read
    before, so that it is known to be whole. Texts are kept in the memo by what stands around them,
    so that their length may change.
    """
    return b"".join(_pieces(pickle, wrappers))


def _pieces(pickle: bytes, wrappers: Collection[str]) -> Iterator[bytes]:
    import pickletools  # a scan has no use for it

    kept, changed = 0, None
    for opcode, argument, at in pickletools.genops(pickle):
        assert at is not None
        if changed is not None:
            yield changed
            kept, changed = at, None
        if opcode.name in _TEXTS:
            name = unwrapped(str(argument), wrappers)
            if name != argument:
                text = name.encode("utf-8", "surrogatepass")
                changed = b"X" + struct.pack("<I", len(text)) + text
        elif opcode.name == "FRAME":
            changed = b""  # it announces a length; a pickle is as good without frames
        if changed is not None:
            yield pickle[kept:at]
    yield pickle[kept:]
