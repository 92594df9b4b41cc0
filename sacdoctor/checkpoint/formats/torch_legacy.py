"""What `torch.save` wrote before PyTorch 1.6: pickles in a row, then storages.

Torch itself reads it and saves it anew, as a zip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from sacdoctor.archive import Pieces
from sacdoctor.checkpoint.edits import Edits, ElementEdit
from sacdoctor.checkpoint.formats.interface import Container, Contents, PickleFile
from sacdoctor.checkpoint.hyperparameters import Hyperparameters
from sacdoctor.checkpoint.legacy import resave
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.optimizer_state import OptimizerState
from sacdoctor.checkpoint.saved_parts import SavedParts, saved_parts
from sacdoctor.checkpoint.tensors import Tensor
from sacdoctor.checkpoint.torch_file import is_legacy, read_legacy


class TorchLegacy(Contents):
    """A file in the old format over its bytes."""

    def __init__(self, buffer: memoryview, limits: Limits) -> None:
        self._buffer = buffer
        self._limits = limits

    @cached_property
    def _parts(self) -> SavedParts:
        return saved_parts(read_legacy(self._buffer, self._limits.walks))

    def tensors(self) -> Mapping[str, Tensor]:
        return self._parts.tensors

    def optimizers(self) -> Mapping[str, OptimizerState]:
        return self._parts.optimizers

    def settings(self) -> Hyperparameters:
        return Hyperparameters(self._parts.counters)

    def pickles(self) -> Iterator[PickleFile]:
        yield PickleFile("", lambda: self._buffer, is_torch=True)

    def edited(self, edits: Edits) -> Pieces:
        return [resave(self._buffer, [self._placed(edit) for edit in edits.elements], None)]

    def _placed(self, edit: ElementEdit) -> ElementEdit:
        """Return the edit with the whole path to its tensor."""
        if edit.optimizer is None:
            return replace(edit, path=self._parts.places[str(edit.path[0])])
        return replace(edit, path=(*self._parts.optimizer_places[edit.optimizer], *edit.path))


CONTAINER = Container(
    name="a bare state dict",
    endings=(".pth", ".pt"),
    opens=is_legacy,
    contents=TorchLegacy,
    has_pickles=True,
)
