"""Pickles in files that are not named like any, which who goes by names alone passes by."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from sacdoctor.archive import Archive, ends_as_zip
from sacdoctor.checkpoint import Checkpoint, Limits
from sacdoctor.errors import CheckpointError, SacdoctorError, UnsupportedCheckpoint
from sacdoctor.files import Ranges, map_file, map_ranges
from sacdoctor.pickles import Name, Symbols, is_pickle, read_pickle
from sacdoctor.trust.parts import ENDINGS, encoded_pickles

_TAR, _TAR_AT = b"ustar", 257
_ARRAY, _ARRAY_HEADER, _OF_OBJECTS = b"\x93NUMPY", 4096, b"|O"
"""Source: numpy/lib/format.py. The header is text; objects have the type `|O` there."""
_PACKED = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4")


def holds_hidden_pickle(path: Path, ranges: Ranges | None = None) -> bool:
    """Return whether a scan of the file, whose name is not that of a pickle, would look into one.

    With `ranges`, `path` is but its name, and these are its bytes.

    Raises `SacdoctorError` where it holds a pickle, or may hold one, that no scan looks into, with
    what to do. A link that leads nowhere, a pipe and an empty file hold nothing.
    """
    if ranges is None and not _is_file_with_bytes(path):
        return False
    buffer = map_file(path) if ranges is None else map_ranges(ranges)
    if is_pickle(bytes(buffer[:2])):
        return True
    if bytes(buffer[:2]) == b"PK" or ends_as_zip(buffer):
        return _is_zip_with_pickles(path, buffer, ranges)
    _refuse_what_is_not_looked_into(path, buffer)
    return False


def _is_file_with_bytes(path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SacdoctorError(error.strerror or str(error)) from None
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _is_zip_with_pickles(path: Path, buffer: memoryview, ranges: Ranges | None) -> bool:
    try:
        with Checkpoint(path, ranges=ranges) as checkpoint:
            if any(True for _ in checkpoint.pickles()) or any(encoded_pickles(checkpoint)):
                return True
        archive = Archive(buffer, position=0, budget=Limits.of(len(buffer)).expansion)
    except SacdoctorError:
        return True  # the scan says what is the matter with it
    for name in archive:
        _refuse_objects(archive.start_of(name, _ARRAY_HEADER))
    return False


def _refuse_what_is_not_looked_into(path: Path, buffer: memoryview) -> None:
    if bytes(buffer[_TAR_AT : _TAR_AT + len(_TAR)]) == _TAR:
        raise UnsupportedCheckpoint("it is a tar archive, which torch.load opens; unpack it")
    _refuse_objects(bytes(buffer[:_ARRAY_HEADER]))
    if path.suffix.lower() in _PACKED and path.stem.lower().endswith(ENDINGS):
        raise UnsupportedCheckpoint("by its name it is a pickle, compressed; unpack it")
    if _is_old_pickle(buffer):
        raise UnsupportedCheckpoint("it is a pickle; name it .pkl to have it looked into")


def _refuse_objects(start: bytes) -> None:
    if start.startswith(_ARRAY) and _OF_OBJECTS in start:
        raise UnsupportedCheckpoint(
            "it holds an array of Python objects, a pickle that numpy.load(allow_pickle=True) runs"
        )


def _is_old_pickle(buffer: memoryview) -> bool:
    """Return whether it is a pickle of protocol 0 or 1, which no first byte tells.

    It is one if it can be walked to its end and looks anything up on the way, or if it calls what
    it has looked up: damage that stands behind that does not keep Python from running it. That it
    only looks something up says nothing: so does Python's own source, if it begins with `class`.
    """
    deeds = _Deeds()
    try:
        read_pickle(buffer, deeds, Limits.of_buffer(len(buffer)).walks)
    except CheckpointError:
        return deeds.calls
    return deeds.looks_up


class _Deeds(Symbols):
    """Notes whether a pickle looks up what can be a name in Python, and whether it calls that."""

    looks_up = calls = False

    def name(self, module: str, qualname: str, protocol: int) -> Name:
        found = super().name(module, qualname, protocol)
        self.looks_up = self.looks_up or _is_possible(found)
        return found

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls = self.calls or (isinstance(function, Name) and _is_possible(function))
        return super().call(function, args, kwargs)


def _is_possible(name: Name) -> bool:
    return all(map(str.isidentifier, str(name).split(".")))
