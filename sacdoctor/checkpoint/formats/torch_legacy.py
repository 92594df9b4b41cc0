"""A bare state dict as `torch.save` wrote it before PyTorch 1.6: pickles in a row, then storages.

Torch itself reads it and saves it anew, as a zip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from sacdoctor.archive import Pieces
from sacdoctor.checkpoint.edits import Edits
from sacdoctor.checkpoint.formats.interface import Container, Contents, PickleFile
from sacdoctor.checkpoint.legacy import resave
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.state_dict import nested_state_dict, nesting
from sacdoctor.checkpoint.tensors import Tensor
from sacdoctor.checkpoint.torch_file import is_legacy, read_legacy


class TorchLegacy(Contents):
    """A file in the old format over its mapped bytes."""

    def __init__(self, buffer: memoryview, _limits: Limits) -> None:
        self._buffer = buffer

    @cached_property
    def _state_dict(self) -> tuple[tuple[str, ...], Mapping[str, Tensor]]:
        """The key under which it stands, if any, and the state dict."""
        saved = read_legacy(self._buffer)
        return nesting(saved), nested_state_dict(saved)

    def tensors(self) -> Mapping[str, Tensor]:
        return self._state_dict[1]

    def pickles(self) -> Iterator[PickleFile]:
        yield PickleFile("", lambda: self._buffer, is_torch=True)

    def edited(self, edits: Edits) -> Pieces:
        outer, _ = self._state_dict
        elements = [replace(edit, path=(*outer, *edit.path)) for edit in edits.elements]
        return [resave(self._buffer, elements, None)]


CONTAINER = Container(
    name="a bare state dict",
    endings=(".pth", ".pt"),
    opens=is_legacy,
    contents=TorchLegacy,
    has_pickles=True,
)
