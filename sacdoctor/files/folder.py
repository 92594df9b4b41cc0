"""Folders of checkpoints."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sacdoctor.errors import SacdoctorError, unopened


def refuse_other_than_folder(path: str | Path, reason: str) -> None:
    """Raise `SacdoctorError` where there is no folder; with `reason` where there is a file."""
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise unopened(error).at(path) from None
    if not stat.S_ISDIR(mode):
        raise SacdoctorError(reason, path)


def files_below(folder: str | Path, endings: str | tuple[str, ...]) -> list[Path]:
    """Return the files below `folder` whose name ends so, whatever its case, in order."""
    return sorted(
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(endings)
    )


def is_file(path: Path) -> bool:
    """Return whether a file is there: of a name that is too long for one, or where one may not
    look, there is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def entered_below(folder: str | Path) -> Iterator[Path | SacdoctorError]:
    """Yield every file below `folder`, and an error for each folder below that was not entered.

    Such a one cannot be listed, or is a link that leads out of `folder`: one to a place within is
    entered there.
    """
    top = os.path.realpath(folder)
    unlisted: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=unlisted.append):
        folders.sort()
        for name in folders:
            path = Path(root, name)
            leads_to = os.path.realpath(path)
            if path.is_symlink() and not _is_within(leads_to, top):
                yield SacdoctorError(f"it is a link to {leads_to}, which was not entered", path)
        yield from (Path(root, name) for name in sorted(names))
    for error in unlisted:
        yield SacdoctorError(f"it was not entered: {error.strerror or error}", error.filename)


def _is_within(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder
