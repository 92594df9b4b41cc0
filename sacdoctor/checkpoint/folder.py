"""Folders of checkpoints."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: str | Path, endings: str | tuple[str, ...]) -> list[Path]:
    """Return the files below `folder` whose name ends so, whatever its case, in order."""
    return sorted(
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(endings)
    )
