"""What training makes for the tests, kept between their runs: trained once per state of fixtures/.

It lies in `SACDOCTOR_FIXTURE_CACHE`, or else in the user's cache, in a folder for what the result
depends on: the code that trains and the versions that it trains with. Nothing but a copy leaves
it, so that no test can change what the next run of them sees.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[1]
TRAINS = ("tests/agents.py", "tests/kept.py", "tests/runs.py")
"""The code beside fixtures/ that makes what is kept."""
WITH = ("torch", "stable_baselines3", "sb3_contrib", "gymnasium", "numpy", "cloudpickle")
DAYS = 14
"""So long is kept what no run has asked for."""


def key() -> str:
    """Return what a trained file depends on, as a name: other code or versions, another name."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "fixtures").rglob("*.py"), *(ROOT / name for name in TRAINS)]):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{len(path.read_bytes())}\0".encode())
        digest.update(path.read_bytes())
    digest.update("".join(f"{name} {version(name)}\0" for name in WITH).encode())
    return f"{platform.python_version()}-{platform.machine()}-{digest.hexdigest()[:16]}"


def cache_folder() -> Path:
    """Return where trained files are kept unless `SACDOCTOR_FIXTURE_CACHE` says otherwise.

    Source: the XDG Base Directory Specification, `$XDG_CACHE_HOME`.
    """
    if given := os.environ.get("SACDOCTOR_FIXTURE_CACHE"):
        return Path(given).absolute()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "sacdoctor-fixtures")


class Kept:
    """Folders by name, each made when a test first asks for it, in whichever run that is.

    :param cache: holds what is kept, for any number of processes at a time
    :param folder: takes the copies, for one process
    """

    def __init__(self, cache: Path, folder: Path) -> None:
        self._cache = cache / key()
        self._folder = folder
        self._cache.mkdir(parents=True, exist_ok=True)
        os.utime(self._cache)
        _clear(cache)

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return a copy of the folder `name`, which `make` fills where it is not there yet.

        No process sees half of it, and two that ask for it at a time wait for one training.
        """
        copy = self._folder / name
        if not copy.exists():
            shutil.copytree(self._whole(name, make), copy)
        return copy

    def _whole(self, name: str, make: Callable[[Path], object]) -> Path:
        whole = self._cache / name
        if whole.exists():
            return whole
        with FileLock(self._cache / f"{name}.lock"):
            if not whole.exists():
                with tempfile.TemporaryDirectory(dir=self._cache) as work:
                    part = Path(work, name)
                    part.mkdir()
                    make(part)
                    part.rename(whole)
        return whole


def _clear(cache: Path) -> None:
    """Remove what other code made with other versions, if nobody has used it for long."""
    for old in _older_than(cache.iterdir(), time.time() - DAYS * 86_400):
        shutil.rmtree(old, ignore_errors=True)


def _older_than(folders: Iterable[Path], then: float) -> list[Path]:
    return [folder for folder in folders if folder.is_dir() and folder.stat().st_mtime < then]
