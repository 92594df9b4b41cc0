"""What needs an extra is found when it is first used, with the command to type if it is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_OF_TRAIN = ("stable_baselines3", "sb3_contrib", "gymnasium")


def from_train(module: str, name: str, asked: str) -> Any:
    """Return what is called `name` in a module that needs the extra `train`.

    Raises `ImportError` where the extra is not installed; `asked` is what the user asked for.
    """
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _OF_TRAIN:
            raise
        raise ImportError(f"{asked} needs {package}: pip install 'sacdoctor[train]'") from error
