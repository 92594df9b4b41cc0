"""Names as SB3 takes them: `model.save("model")` writes model.zip, and `load("model")` opens it."""

from __future__ import annotations

import os

CHECKPOINT, BUFFER = ".zip", ".pkl"


def as_saved(path: str, ending: str = CHECKPOINT) -> str:
    """Return `path`, or with the ending that SB3 gave it where only such a file is there.

    Source: `open_path` in stable_baselines3/common/save_util.py, which appends it to any name.
    """
    saved = f"{path}{ending}"
    return saved if not os.path.lexists(path) and os.path.lexists(saved) else path
