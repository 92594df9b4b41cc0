"""What `torch.save` wrote before PyTorch 1.6, pickles in a row: state dicts, alone or many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from sacdoctor.archive import Pieces
from sacdoctor.checkpoint.edit import edited_torch_file
from sacdoctor.checkpoint.edits import Edits
from sacdoctor.checkpoint.formats.interface import Container, Contents, PickleFile
from sacdoctor.checkpoint.hyperparameters import Hyperparameters
from sacdoctor.checkpoint.legacy import is_legacy, read_legacy
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.optimizer_state import OptimizerState
from sacdoctor.checkpoint.saved_parts import SavedParts, saved_parts
from sacdoctor.checkpoint.tensors import Tensor


class TorchLegacy(Contents):
    """A file in the old format over its bytes."""

    def __init__(self, buffer: memoryview, limits: Limits) -> None:
        self._buffer = buffer
        self._limits = limits

    @cached_property
    def _parts(self) -> SavedParts:
        return saved_parts(read_legacy(self._buffer, self._limits.walks, opaque=True))

    def tensors(self) -> Mapping[str, Tensor]:
        return self._parts.tensors

    def optimizers(self) -> Mapping[str, OptimizerState]:
        return self._parts.optimizers

    def settings(self) -> Hyperparameters:
        return Hyperparameters(self._parts.counters)

    def pickles(self) -> Iterator[PickleFile]:
        yield PickleFile("", lambda: self._buffer, is_torch=True)

    def edited(self, edits: Edits) -> Pieces:
        return edited_torch_file(
            self._buffer, edits.elements, None, self._limits, names=edits.names
        )


CONTAINER = Container(
    name="a bare state dict",
    endings=(".pth", ".pt"),
    opens=is_legacy,
    contents=TorchLegacy,
    has_pickles=True,
)
