"""What needs an extra is found when it is first used, with the command to type if it is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXTRAS = {
    "stable_baselines3": "train",
    "sb3_contrib": "train",
    "gymnasium": "train",
    "jinja2": "html",
    "matplotlib": "html",
    "pyarrow": "tables",
}
"""Packages, and the extra of this one that brings each."""


def imported(module: str, name: str, asked: str) -> Any:
    """Return what is called `name` in a module, which may need an extra.

    Raises `ImportError` where that is not installed; `asked` is what the user asked for.
    """
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise ImportError(
            f"{asked} needs {package}: pip install 'sacdoctor[{_EXTRAS[package]}]'"
        ) from error
