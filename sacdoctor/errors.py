"""The project's exceptions: each says which file, what is wrong with it, and where."""

from __future__ import annotations

from errno import ENOENT
from pathlib import Path

MAX_REASON = 400
"""Characters. A reason may quote names from the file, which a hostile one makes a megabyte long."""


class SacdoctorError(Exception):
    """Something a person can act on. `str()` is one line: the path, then the reason.

    The code that finds a fault often does not know the file it came from; whoever opened the
    file adds it with `at`.
    """

    @classmethod
    def in_words(cls) -> str:
        """Return what a rule looks at that is handed an error."""
        return "a file that cannot be read"

    def __init__(self, reason: str, path: str | Path | None = None) -> None:
        super().__init__(reason)
        self.reason = _cut(reason)
        self.path = path

    def within(self, member: str) -> SacdoctorError:
        """Return this error with the member of the file that it is about before its reason."""
        self.reason = _cut(f"{_cut(member)}: {self.reason}")
        return self

    def at(self, path: str | Path) -> SacdoctorError:
        """Return this error with `path` set, unless it names a file already."""
        if self.path is None:
            self.path = path
        return self

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{self.path}: {self.reason}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON else text[:MAX_REASON] + " …"


class CheckpointError(SacdoctorError):
    """The file cannot be read as a checkpoint."""


class CorruptCheckpoint(CheckpointError):
    """The file contradicts itself: a checksum, a size, an offset or a count does not hold."""


class OverBudget(CorruptCheckpoint):
    """Its pickles take more operations or memory than a file of its size is allowed."""


class ChangedFile(SacdoctorError):
    """Somebody wrote to the file while it was read: what was read is of no one moment.

    No `CheckpointError`: nothing is known of the checkpoint, and whoever can do without what a
    damaged one lacks cannot do without knowing that.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__("it changed while it was read; try again", path)


class NotACheckpoint(CheckpointError):
    """There is nothing to open: no file, or none of the formats that are read here."""


class MissingFile(NotACheckpoint, FileNotFoundError):
    """There is no such file or folder; programs may catch Python's own error for that."""

    def __init__(self, reason: str, path: str | Path | None = None) -> None:
        super().__init__(reason, path)
        self.errno, self.strerror, self.filename = ENOENT, self.reason, path

    def at(self, path: str | Path) -> SacdoctorError:
        super().at(path)
        self.filename = self.path
        return self


def unopened(error: OSError) -> NotACheckpoint:
    """Return the error for what cannot be opened, Python's own kind too where it is not there."""
    kind = MissingFile if isinstance(error, FileNotFoundError) else NotACheckpoint
    return kind(error.strerror or str(error))


class UnsupportedCheckpoint(CheckpointError):
    """The file may be sound, but holds something that is not read here."""


class UnlistedName(CheckpointError):
    """A pickle asks for a name outside the short list that a state dict needs."""


class Unloadable(CheckpointError):
    """No live model can be made of it without running what it holds."""
