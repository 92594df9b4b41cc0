"""The kinds of checkpoint files: a module here with a `CONTAINER` is all that one takes."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from sacdoctor.archive import ends_as_zip
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

    Raises `NotACheckpoint` where they are none, and `UnsupportedCheckpoint` where a zip stands
    behind something else: SB3 would load the zip, torch what stands before it. There is no telling
    what is meant, as Python finds a zip from its end.
    """
    if bytes(buffer[:2]) != b"PK" and ends_as_zip(buffer):
        raise UnsupportedCheckpoint(
            "something stands before the zip archive in it, two formats in one file; SB3 may "
            "load the zip all the same"
        )
    found = [container for container in CONTAINERS if container.opens(buffer)]
    found = [container for container in found if not container.gives_way] or found
    if not found:
        raise NotACheckpoint("it is neither a zip nor a file that torch.save wrote")
    if len(found) > 1:
        raise RuntimeError(f"{found[0].name} and {found[1].name} claim the same bytes")
    return found[0]


def checkpoints_below(folder: str | Path) -> list[Path]:
    """Return the checkpoints below a folder by their names: those of SB3, else those of torch.

    Torch's files beside SB3's are parts of them that somebody unpacked.
    """
    return files_below(folder, _SB3_ENDING) or files_below(folder, _TORCH_ENDINGS)


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
