"""The kinds of checkpoint files: a module here with a `CONTAINER` is all that one takes."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from sacdoctor.archive import ends_as_zip
from sacdoctor.checkpoint.foreign import ForeignCheckpoint, foreign_bytes, foreign_folder
from sacdoctor.checkpoint.formats.interface import RECORD, Container, Contents, PickleFile
from sacdoctor.errors import NotACheckpoint, UnsupportedCheckpoint
from sacdoctor.files import files_below

__all__ = [
    "CONTAINERS",
    "ENDINGS",
    "RECORD",
    "Container",
    "Contents",
    "PickleFile",
    "checkpoints_below",
    "container_of",
]


def container_of(buffer: memoryview) -> Container:
    """Return the kind of file that these bytes are.

    Raises `NotACheckpoint` where they are none, `ForeignCheckpoint` where they are known as
    something else, and `UnsupportedCheckpoint` where a zip stands behind something else: SB3 would
    load the zip, torch what stands before it. There is no telling what is meant, as Python finds a
    zip from its end.
    """
    if bytes(buffer[:2]) != b"PK" and ends_as_zip(buffer):
        kind = foreign_bytes(buffer)
        raise UnsupportedCheckpoint(
            "something stands before the zip archive in it, two formats in one file; SB3 may "
            "load the zip all the same"
            + (f" (by its beginning it is {kind.words}: {kind.remedy})" if kind else "")
        )
    found = [container for container in CONTAINERS if container.opens(buffer)]
    found = [container for container in found if not container.gives_way] or found
    if not found:
        kind = foreign_bytes(buffer)
        if kind is not None:
            raise ForeignCheckpoint(kind)
        raise NotACheckpoint("it is neither a zip nor a file that torch.save wrote")
    if len(found) > 1:
        raise RuntimeError(f"{found[0].name} and {found[1].name} claim the same bytes")
    return found[0]


def checkpoints_below(folder: str | Path) -> list[Path]:
    """Return the checkpoints below a folder by their names: those of SB3, else those of torch.

    Beside them torch's files are parts of them that somebody unpacked; so they are in a folder that
    is something else as a whole (`foreign_folder`), which holds none.
    """
    found = files_below(folder, _SB3_ENDING)
    if found or foreign_folder(folder) is not None:
        return found
    return files_below(folder, _TORCH_ENDINGS)


def _discovered() -> Iterator[Container]:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        container = getattr(import_module(module.name), "CONTAINER", None)
        if container is not None:
            yield container


CONTAINERS: tuple[Container, ...] = tuple(_discovered())
"""All kinds, in the order of their modules' names."""
ENDINGS = tuple(dict.fromkeys(ending for kind in CONTAINERS for ending in kind.endings))
"""How checkpoints of any kind are named."""
_SB3_ENDING, _TORCH_ENDINGS = ".zip", (".pth", ".pt")
