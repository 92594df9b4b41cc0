"""What stands for checkpoints: files, folders and patterns, here and at addresses."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sacdoctor.checkpoint import ForeignCheckpoint, checkpoints_below, foreign_folder
from sacdoctor.diagnosis import looks_at_code_alone
from sacdoctor.errors import SacdoctorError
from sacdoctor.files import as_saved, entered_below
from sacdoctor.fleet.address import Address, path_here
from sacdoctor.fleet.look import Target
from sacdoctor.fleet.patience import Patience
from sacdoctor.options import ScanOptions
from sacdoctor.trust import ENDINGS, holds_hidden_pickle


def find_checkpoints(
    paths: Iterable[str], options: ScanOptions | None = None, patience: Patience | None = None
) -> list[Target]:
    """Return what `paths` (files, folders, shell-style patterns) stand for, each file once.

    Each may be an address that a driver of fsspec reaches (see `fleet.address`).

    A name stands for the file that SB3 saved under it; `model` may be model.zip. A folder stands
    for every `.zip` below it; where `options` look at code alone, for every pickle below it (at an
    address for every file, as each is looked into when its turn comes), and what was not entered
    on the way is an error, too. What leads nowhere becomes an error in its place.
    """
    is_gate = options is not None and looks_at_code_alone(options)
    found: dict[str, Target] = {}
    for path in paths:
        here = path_here(path)
        if here is None:
            targets = _at_address(path, is_gate, patience or Patience())
        else:
            targets = _targets(here, is_gate)
        for target in targets:
            # Two addresses may differ in what is not shown.
            found.setdefault(target.url if isinstance(target, Address) else str(target), target)
    return list(found.values())


def _nothing_below(folder: str, endings: tuple[str, ...]) -> SacdoctorError:
    """Return what to say of a folder without checkpoints: what it is, where that is known."""
    kind = foreign_folder(folder)
    if kind is not None:
        return ForeignCheckpoint(kind).at(folder)
    return SacdoctorError(f"the folder holds no {', '.join(endings)} file", folder)


def _pickles_below(folder: str) -> Iterator[Path | SacdoctorError]:
    """Yield what holds a pickle, whatever its name, and an error for what was not looked into."""
    for found in entered_below(folder):
        if isinstance(found, SacdoctorError) or found.name.lower().endswith(ENDINGS):
            yield found
            continue
        try:
            if holds_hidden_pickle(found):
                yield found
        except SacdoctorError as error:
            yield error.at(found)


def _place(target: Path | SacdoctorError) -> Path:
    return target if isinstance(target, Path) else Path(target.path or "")


def _targets(path: str, is_gate: bool) -> list[Target]:
    path = as_saved(path)
    if os.path.isdir(path):
        below = sorted(_pickles_below(path), key=_place) if is_gate else checkpoints_below(path)
        return [*below] or [_nothing_below(path, ENDINGS if is_gate else (".zip",))]
    if not os.path.lexists(path) and glob.has_magic(path):
        matches: list[Target] = []
        for match in sorted(glob.glob(path, recursive=True)):
            matches += _targets(match, is_gate) if os.path.isdir(match) else [Path(match)]
        return matches or [SacdoctorError("no file matches this pattern", path)]
    return [Path(path)]


# -- addresses ---------------------------------------------------------------------------------


_ZIPS, _TORCH = (".zip",), (".pth", ".pt")


def _at_address(url: str, is_gate: bool, patience: Patience) -> list[Target]:
    """Return what an address stands for: a file, what is in a folder, or what fits a pattern."""
    from sacdoctor.fleet.drivers import place_of

    address = Address(url)
    try:
        place = place_of(address, patience)
        # A question mark stands before the query of a web address.
        if glob.has_magic(place.path.replace("?", "") if place.is_web else place.path):
            found = place.matching()
            if not found and not place.is_there():
                raise SacdoctorError("no file matches this pattern")
            return [*found] or [address]
        if not place.is_folder():
            return [address]
        below = place.below()
        if is_gate:
            named = [one.name.lower().endswith(ENDINGS) for one in below]
            return [replace(a, is_asked_for=n) for a, n in zip(below, named, strict=True)]
        for endings in (_ZIPS, _TORCH):
            found = [one for one in below if one.name.lower().endswith(endings)]
            if found:
                return [*found]
        raise SacdoctorError("the folder holds no .zip file")
    except SacdoctorError as error:
        error.path = str(address)
        return [error]
