"""Bytes in pickles that have no opcode for them: as text, and by the names of Python's own types.

Protocols 0 to 2 write bytes as a call of `_codecs.encode` on a text of one character per byte, and
empty ones as a call of `bytes`; protocols below 5 write a bytearray as a call of its type.
Source: `save_bytes` and `save_bytearray` in CPython's Lib/pickle.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint

MAX_ENCODED = 64 * 1024**2
"""Characters of text that are turned into bytes; only protocols before 3 keep arrays as text."""


def encode(text: Any, encoding: Any = None) -> bytes:
    """Return the bytes that `_codecs.encode(text, encoding)` would, where a pickler wrote the call.

    Raises `CorruptCheckpoint` for anything else, `UnsupportedCheckpoint` for more than 64 MiB.
    """
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise CorruptCheckpoint("its pickle holds bytes in an unknown encoding")
    if len(text) > MAX_ENCODED:
        raise UnsupportedCheckpoint(
            "its arrays are kept as text (a pickle protocol below 3); save it again with SB3"
        )
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise CorruptCheckpoint("its pickle holds bytes as a text that is none of bytes") from None


def _bytes(data: Any = b"", encoding: Any = None) -> Any:
    if isinstance(data, str) and encoding is not None:
        return encode(data, encoding)
    if not isinstance(data, (bytes, memoryview)):
        raise CorruptCheckpoint("its pickle makes bytes of something that is none")
    return data


ENCODE = ("_codecs", "encode")
ENCODED_TEXT: dict[tuple[str, str], Callable[..., Any]] = {ENCODE: encode}
"""What calling the name makes by which protocols 0 to 2 keep bytes."""
ENCODED_BYTES: dict[tuple[str, str], Callable[..., Any]] = {
    **ENCODED_TEXT,
    **{(module, "bytes"): _bytes for module in ("builtins", "__builtin__")},
    **{(module, "bytearray"): _bytes for module in ("builtins", "__builtin__")},
}
"""The same, and Python's own types of bytes."""
