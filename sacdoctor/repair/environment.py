"""Names that a checkpoint's pickles ask for, and this environment has under others or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import reduce
from importlib import import_module
from importlib.util import find_spec

from msgspec import Struct

from sacdoctor.checkpoint import Checkpoint, decoded, names_in_torch_file
from sacdoctor.errors import CheckpointError
from sacdoctor.pickles import GlobalName, global_names
from sacdoctor.repair.model import Left, Rename
from sacdoctor.trust import encoded_pickles

_MOVED = (
    ("gym.spaces", "gymnasium.spaces"),
    ("numpy.core", "numpy._core"),
    ("numpy._core", "numpy.core"),
)
"""Packages whose content has another home: a name goes from the first to the second where only the
second has it here, or the first is there to warn that it will go (`numpy.core` in numpy 2)."""
_MOVED_ALONE: Mapping[GlobalName, GlobalName] = {
    ("gym.utils.seeding", "RandomNumberGenerator._generator_ctor"): (
        "numpy.random._pickle",
        "__generator_ctor",
    ),
}
"""Names that moved otherwise. gym's generator is numpy's, made from the same words. Source:
gym/utils/seeding.py in gym 0.22 to 0.26."""
_MAKE_CODE = frozenset(
    ("cloudpickle.cloudpickle", name)
    for name in ("_builtin_type", "_make_function", "_make_skel_func", "_fill_function")
)
"""What cloudpickle calls to make a function anew from its bytecode, in its versions since 0.5."""
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Ported(Struct, frozen=True):
    """What changes for this environment, and what nothing here can change."""

    renames: tuple[Rename, ...]
    left: tuple[Left, ...]


def ported(checkpoint: Checkpoint) -> Ported:
    """Return which names change so that loading finds them here, and what it will not find.

    Only packages that are installed are imported, and of those the few that names go to.
    """
    renames: list[Rename] = []
    left: list[Left] = []
    version = checkpoint.python_version
    for place, names in _asked(checkpoint):
        if isinstance(names, CheckpointError):
            left.append(Left(place, names.reason))
            continue
        moved = {name: new for name in sorted(names) if (new := _here(name)) is not None}
        renames += [Rename(place, old, new) for old, new in moved.items()]
        missing = sorted({_package(module) for module, _ in names - moved.keys()})
        gone = [package for package in missing if not _is_installed(package)]
        if gone:
            left.append(Left(place, f"it asks for {' and '.join(gone)}, not installed here"))
        elif names & _MAKE_CODE and version != _PYTHON:
            left.append(Left(place, _foreign_code(version)))
    return Ported(tuple(renames), tuple(left))


def _foreign_code(version: str | None) -> str:
    """Return what to say of a function that another Python compiled, None: one unknown."""
    saved_by = (
        f"Python {version}" if version else "the Python that saved it, which it does not tell"
    )
    return (
        f"code of {saved_by}; no other runs it, and here it is {_PYTHON}. SB3 warns, and goes on "
        "without it or with what custom_objects gives; --strip-code puts numbers in the place of "
        "schedules"
    )


def _asked(checkpoint: Checkpoint) -> Iterator[tuple[str, frozenset[GlobalName] | CheckpointError]]:
    """Yield where each pickle stands and the names it asks for, or why these cannot be told."""
    for key, encoded in encoded_pickles(checkpoint):
        try:
            yield f"data {key}", global_names(decoded(encoded))
        except CheckpointError as error:
            yield f"data {key}", error
    for file in checkpoint.pickles():
        if file.is_torch:
            try:
                yield file.member, names_in_torch_file(file.read(), checkpoint.limits)
            except CheckpointError as error:
                yield file.member, error


def _here(name: GlobalName) -> GlobalName | None:
    """Return under which name this environment has what a pickle asks for; None: under no other."""
    if name in _MOVED_ALONE:
        return _MOVED_ALONE[name]
    module, qualname = name
    for old, new in _MOVED:
        if module == old or module.startswith(f"{old}."):
            other = new + module.removeprefix(old), qualname
            if _prefers(new) and _is_found(other):
                return other
    return None


def _prefers(package: str) -> bool:
    """Return whether this environment's own pickles would name the package."""
    if not package.startswith("numpy."):
        return True
    import numpy as np

    return np.ndarray.__reduce__(np.empty(0))[0].__module__.startswith(f"{package}.")


def _is_found(name: GlobalName) -> bool:
    module, qualname = name
    try:
        reduce(getattr, qualname.split("."), import_module(module))
    except (ImportError, AttributeError):
        return False
    return True


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_installed(package: str) -> bool:
    try:
        return package in sys.modules or find_spec(package) is not None
    except (ImportError, ValueError):
        return False
