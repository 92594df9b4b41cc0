"""What a kind of checkpoint file is: a value that tells its files by their bytes and opens them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from sacdoctor.archive import Pieces
from sacdoctor.checkpoint.edits import Edits
from sacdoctor.checkpoint.foreign import Foreign
from sacdoctor.checkpoint.hyperparameters import Hyperparameters
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.optimizer_state import OptimizerState
from sacdoctor.checkpoint.tensors import Tensor

RECORD = "sacdoctor.json"
"""The name of the note about repairs where a file has names for its parts. SB3's loader does not
see it: it takes only `*.pth` and its own names."""


class PickleFile(Struct, frozen=True):
    """A pickle that loading the checkpoint opens, or a torch file with pickles in it.

    `member` is where it stands, empty for the file itself. `read` returns its bytes, and raises
    `CheckpointError` where they are damaged or refused. `is_plain`: it was read already, and does
    nothing but what a state dict needs, so that to walk it again would find nothing.
    """

    member: str
    read: Callable[[], memoryview]
    is_torch: bool
    is_plain: bool = False


class Contents(ABC):
    """What one open file holds; it is read when asked for, and the caller keeps it.

    A kind of file that has tensors alone defines `tensors` and `edited`. Every method may raise
    `CheckpointError`, which names the member that is wrong; the caller adds the path.
    """

    @abstractmethod
    def tensors(self) -> Mapping[str, Tensor]:
        """Return the policy's state dict by name, in its order, aliases included."""

    @abstractmethod
    def edited(self, edits: Edits) -> Pieces:
        """Return the bytes of the file with `edits` carried out, all others as they are."""

    def variables(self) -> Mapping[str, Tensor]:
        """Return the tensors outside the policy, such as `log_ent_coef`."""
        return {}

    def optimizers(self) -> Mapping[str, OptimizerState]:
        """Return each optimizer's state by its name, e.g. `actor.optimizer`."""
        return {}

    def optimizer_file(self, optimizer: str) -> str:
        """Return what the place is called where an optimizer's state stands."""
        return optimizer

    def settings(self) -> Hyperparameters:
        """Return the settings of the algorithm, empty where there are none."""
        return Hyperparameters({})

    def foreign(self) -> Foreign | None:
        """Return which other library's file it is, None where it is none."""
        return None

    def sb3_version(self) -> str | None:
        """Return the version of SB3 that wrote the file, None where it does not tell."""
        return None

    def pickles(self) -> Iterable[PickleFile]:
        """Return every pickle that loading the file opens, those in its settings aside."""
        return ()

    def python_version(self) -> str | None:
        """Return the version of Python that wrote the file, None where it does not tell."""
        return None

    def is_repaired(self) -> bool:
        """Return whether it holds a note about earlier repairs."""
        return False

    def record(self) -> memoryview | None:
        """Return the note about earlier repairs, None where there is none."""
        return None


class Container(Struct, frozen=True):
    """A kind of checkpoint file. A module of this package that has one, as `CONTAINER`, adds it.

    `name` says what a file of this kind is, with its article. `opens` tells one by its bytes alone,
    and never raises; `contents` opens it within limits, and raises `CheckpointError` where it
    cannot. `endings` are those of names, in lower case, that people give such files.

    `has_settings`, `has_record` and `has_pickles` say what such a file has a place for: settings,
    a note about its repair, pickles that loading it opens.

    No two kinds open the same bytes, but that one which `gives_way` leaves them to any other.
    """

    name: str
    endings: tuple[str, ...]
    opens: Callable[[memoryview], bool]
    contents: Callable[[memoryview, Limits], Contents]
    has_settings: bool = False
    has_record: bool = False
    has_pickles: bool = False
    gives_way: bool = False
