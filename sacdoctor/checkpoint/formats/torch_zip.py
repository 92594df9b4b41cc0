"""What `torch.save` writes since PyTorch 1.6, a zip of one folder: state dicts, alone or many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from sacdoctor.archive import Archive, Budget, Pieces
from sacdoctor.checkpoint.edit import edited_torch_archive
from sacdoctor.checkpoint.edits import Edits
from sacdoctor.checkpoint.foreign import Foreign, foreign_kind
from sacdoctor.checkpoint.formats.interface import Container, Contents, PickleFile
from sacdoctor.checkpoint.hyperparameters import Hyperparameters
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.optimizer_state import OptimizerState
from sacdoctor.checkpoint.saved_parts import SavedParts, saved_parts
from sacdoctor.checkpoint.tensors import Tensor
from sacdoctor.checkpoint.torch_file import pickle_member, read_torch_archive
from sacdoctor.errors import CheckpointError


class TorchZip(Contents):
    """A torch archive over its bytes."""

    def __init__(self, buffer: memoryview, limits: Limits) -> None:
        self._archive = Archive(buffer, position=0, budget=limits.expansion)
        self._limits = limits
        self._is_plain = False

    @cached_property
    def _parts(self) -> SavedParts:
        saved = read_torch_archive(self._archive, self._limits.walks, opaque=True)
        self._is_plain = saved.is_plain
        return saved_parts(saved.content)

    def tensors(self) -> Mapping[str, Tensor]:
        return self._parts.tensors

    def optimizers(self) -> Mapping[str, OptimizerState]:
        return self._parts.optimizers

    def settings(self) -> Hyperparameters:
        return Hyperparameters(self._parts.counters)

    def foreign(self) -> Foreign | None:
        return foreign_kind(tuple(self._archive), Hyperparameters({}))

    def pickles(self) -> Iterator[PickleFile]:
        yield PickleFile("", lambda: self._archive.buffer, True, self._is_plain)

    def edited(self, edits: Edits) -> Pieces:
        return edited_torch_archive(self._archive, edits.elements, names=edits.names)


def _opens(buffer: memoryview) -> bool:
    try:
        if bytes(buffer[:2]) != b"PK":
            return False
        archive = Archive(buffer, position=0, budget=Budget.of(len(buffer)))
        return pickle_member(archive) is not None
    except CheckpointError:
        return False


CONTAINER = Container(
    name="a bare state dict",
    endings=(".pth", ".pt"),
    opens=_opens,
    contents=TorchZip,
    has_pickles=True,
)
