"""Folders of checkpoints."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sacdoctor.errors import SacdoctorError


def refuse_other_than_folder(path: str | Path, reason: str) -> None:
    """Raise `SacdoctorError` where there is no folder; with `reason` where there is a file."""
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise SacdoctorError(error.strerror or str(error), path) from None
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
