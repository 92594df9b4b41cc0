"""A checkpoint of any kind, open over the bytes of its file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType

from sacdoctor.algorithms import algorithm_of
from sacdoctor.archive import Pieces
from sacdoctor.checkpoint.edits import Edits
from sacdoctor.checkpoint.foreign import Foreign, ForeignCheckpoint
from sacdoctor.checkpoint.formats import Container, Contents, PickleFile, container_of
from sacdoctor.checkpoint.hyperparameters import Hyperparameters
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.optimizer_state import OptimizerState
from sacdoctor.checkpoint.tensors import Tensor
from sacdoctor.errors import SacdoctorError
from sacdoctor.files import WHOLE, Ranges, is_held, map_file, map_ranges, refuse_changed


class Checkpoint:
    """An open checkpoint, to be used as a context manager.

    Everything is read when first asked for, and nothing in the file is ever executed. Every
    property may raise `CheckpointError` (with the path and what is wrong), `ChangedFile` where
    somebody writes to the file meanwhile, and `ValueError` once the checkpoint is closed.

    A file of up to 8 MiB, or `whole` bytes, is read whole when it is opened. What was read of a
    larger one holds once `refuse_changed` lets it pass, as the end of the `with` block does.

    With `ranges`, `path` is but a name, and these are its bytes.
    """

    def __init__(self, path: str | Path, whole: int = WHOLE, ranges: Ranges | None = None) -> None:
        self.path = Path(path)
        with self._named():
            buffer = map_file(self.path, whole) if ranges is None else map_ranges(ranges)
            self.container: Container = container_of(buffer)
            limits = Limits.of(len(buffer))
            self._opened = buffer, self.container.contents(buffer, limits), limits

    def __enter__(self) -> Checkpoint:
        self._refuse_closed()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            is_open = "_opened" in self.__dict__
            if is_open and (error is None or isinstance(error, SacdoctorError)):
                self.refuse_changed()  # what seems to be damage may come of it
        finally:
            self.close()

    def refuse_changed(self) -> None:
        """Raise `ChangedFile` where the file is another than when it was opened."""
        try:
            refuse_changed(self.buffer)
        except SacdoctorError as error:
            raise error.at(self.path) from None

    def rest(self) -> None:
        """Let go of what was read; the file stays open, and what was checked need not be again."""
        kept = {name: self.__dict__[name] for name in ("path", "container", "_opened")}
        self.__dict__.clear()
        self.__dict__.update(kept)

    def close(self) -> None:
        """Let the file go; it stays open while views of a large one's bytes are held."""
        kept = {"path": self.path, "container": self.container}
        self.__dict__.clear()
        self.__dict__.update(kept)

    @property
    def buffer(self) -> memoryview:
        """The whole file, to be `fetched`."""
        self._refuse_closed()
        return self._opened[0]

    @property
    def in_memory(self) -> int:
        """How many bytes of the file are kept in memory: all of a small one."""
        return 0 if is_held(self.buffer) else len(self.buffer)

    @property
    def limits(self) -> Limits:
        """What the file may still take, in whatever it is read."""
        self._refuse_closed()
        return self._opened[2]

    @cached_property
    def hyperparameters(self) -> Hyperparameters:
        """The settings of the algorithm; empty where the file holds none."""
        with self._named():
            return self._contents.settings()

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The policy's state dict by name, in its order, aliases included."""
        with self._named():
            self.refuse_foreign()
            tensors = self._contents.tensors()
            self.limits.refuse_names_without_end(tensors.keys())
            return tensors

    @cached_property
    def optimizers(self) -> Mapping[str, OptimizerState]:
        """Each optimizer's state by its name, e.g. `actor.optimizer`; empty where there is none."""
        with self._named():
            return self._contents.optimizers()

    @cached_property
    def variables(self) -> Mapping[str, Tensor]:
        """Tensors outside the policy, such as `log_ent_coef`; empty where there are none."""
        with self._named():
            return self._contents.variables()

    @cached_property
    def algorithm(self) -> str | None:
        """The algorithm's class name, e.g. `SAC`; None where the settings do not tell."""
        return algorithm_of(self.hyperparameters, self.tensors)

    @cached_property
    def policy_class(self) -> str | None:
        """The dotted name of the policy's class, None where the settings do not tell."""
        return self.hyperparameters.class_name("policy_class")

    @cached_property
    def sb3_version(self) -> str | None:
        """The version of SB3 that wrote the file, None before SB3 0.9 and where it is not SB3's."""
        with self._named():
            return self._contents.sb3_version()

    @cached_property
    def python_version(self) -> str | None:
        """The version of Python that wrote the file, such as `3.9`; None where it does not tell."""
        with self._named():
            return self._contents.python_version()

    @cached_property
    def foreign(self) -> Foreign | None:
        """Which other library's file it is, None where it is none; its tensors are not read."""
        with self._named():
            return self._contents.foreign()

    def refuse_foreign(self) -> None:
        """Raise `ForeignCheckpoint` where it is something else; `tensors` does so by itself."""
        if self.foreign is not None:
            raise ForeignCheckpoint(self.foreign).at(self.path) from None

    @property
    def is_repaired(self) -> bool:
        """Whether it holds a note about earlier repairs."""
        return self._contents.is_repaired()

    @cached_property
    def record(self) -> memoryview | None:
        """The note about earlier repairs, None where there is none."""
        with self._named():
            return self._contents.record()

    def optimizer_file(self, optimizer: str) -> str:
        """Return what the place in the file is called where an optimizer's state stands."""
        return self._contents.optimizer_file(optimizer)

    def pickles(self) -> Iterable[PickleFile]:
        """Return every pickle that loading the file opens, those in its settings aside."""
        return self._contents.pickles()

    def edited(self, edits: Edits) -> Pieces:
        """Return the bytes of the file with `edits` carried out, all others as they are.

        Raises `SacdoctorError` where that cannot be done.
        """
        with self._named():
            return self._contents.edited(edits)

    # -- opening -------------------------------------------------------------------------------

    @property
    def _contents(self) -> Contents:
        self._refuse_closed()
        return self._opened[1]

    def _refuse_closed(self) -> None:
        """Raise `ValueError` as Python's files do: who reads on has let the file go too early."""
        if "_opened" not in self.__dict__:
            raise ValueError(f"{self.path}: it is closed")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Add the path to an error that does not know it."""
        try:
            yield
        except SacdoctorError as error:
            raise error.at(self.path) from None
