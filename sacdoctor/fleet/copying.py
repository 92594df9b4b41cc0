"""Copies of what stands at addresses: kept while a verb looks at them, and named after it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from errno import EEXIST, EILSEQ, EINVAL, EISDIR, ENAMETOOLONG, ENOTDIR
from operator import is_
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.checkpoint import checkpoints_below
from sacdoctor.diagnosis import (
    MOST_BYTES_OF_STATISTICS,
    may_be_statistics,
    names_of_statistics,
    report_of_error,
)
from sacdoctor.diagnosis.rules import normalisation_mismatch, normalisation_missing
from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet.address import Address, folder_of, path_here
from sacdoctor.fleet.ending import ending_in_order, uninterrupted
from sacdoctor.fleet.fetched import fetch_into, unkept
from sacdoctor.fleet.patience import MOST_LEVELS, Patience, TooLarge, Unfetched
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions

if TYPE_CHECKING:
    from sacdoctor.fleet.drivers import Place

T = TypeVar("T")

_BESIDE = (normalisation_missing.RULE.code, normalisation_mismatch.RULE.code)
"""Rules about what lies beside a file: beside a copy there is nothing, which says nothing."""
_TOGETHER = 4
"""All files of a call may have so many times the bytes that one may have."""
_GRACES = 10
"""Times the grace of one file: so long all of them may keep one waiting."""
_MOST_NAMES = 20_000
"""Files in a folder that is brought here."""
_MOST_STATISTICS = 64
"""Pickles beside one checkpoint that are fetched, as they may be its `VecNormalize`."""
_OF_NAMES = (ENAMETOOLONG, EEXIST, ENOTDIR, EISDIR, EINVAL, EILSEQ)
"""What fails where a file's name is at fault, and not the disk that it is to be on."""
_ZIP = ".zip"
_PICKLES = (".pkl", ".pickle")
_LOOKED_AT = (_ZIP, ".pth", ".pt", ".npz", ".csv", *_PICKLES)
_FOLDER = "a folder of a web server is looked at where the server lists its files: fetch it first"


@contextmanager
def copies(max_bytes: int | None = None, patience: Patience | None = None) -> Iterator[Copies]:
    """Give what brings files here, and removes them afterwards.

    `max_bytes` of a file are taken at most, if no `patience` says how many. Errors that are raised
    within name addresses.
    """
    stack = ExitStack()
    found = Copies(patience or Patience.of(max_bytes), stack)
    with ending_in_order():
        try:
            yield found
        except SacdoctorError as error:
            found.name(error)
            raise
        finally:
            with uninterrupted():
                stack.close()


class Copies:
    """Where copies of files and folders are; a path that is no address is its own.

    `unfetched` is what a verb would have looked at and could not. `others` are checkpoints
    beside one that was brought here of which no number tells whether they are earlier.
    """

    def __init__(self, patience: Patience, stack: ExitStack) -> None:
        self.unfetched: list[SacdoctorError] = []
        self.others: list[str] = []
        self._patience, self._stack = patience, stack
        self._names: dict[str, str] = {}
        self._folders: list[str] = []
        self._is_alone = False
        self._bytes = _TOGETHER * patience.max_bytes
        self._seconds = _GRACES * patience.grace

    # -- bringing ------------------------------------------------------------------------------

    def file(self, path: str) -> str:
        """Return where the copy of one file is; raises `SacdoctorError` where there is none."""
        if (here := path_here(path)) is not None:
            return here
        self._is_alone = True
        address = Address(path)
        file = self._folder() / address.kept_as
        with _named(address):
            self._fetch(address, file)
        self._names[str(file)] = str(address)
        return str(file)

    def checkpoint(
        self, path: str, *, buffer: bool = True, earlier: int = 0, also: Iterable[str] = ()
    ) -> str:
        """Return where the copy of a checkpoint is, with what belongs to it beside it.

        That are the statistics of `VecNormalize` that may be its own, with `buffer` its replay
        buffer (of a buffer its checkpoint), and files of the names in `also`. Of other checkpoints
        in its folder so many come that are `earlier` by their numbers; the rest are empty files.
        """
        if (here := path_here(path)) is not None:
            return here
        from sacdoctor.fleet.drivers import place_of

        address = Address(path)
        sketch = self._beside(address, self._folder())
        own = next((file for file, of in sketch.items() if of.url == address.url), None)
        if own is None:
            with _named(address):
                if place_of(address, self._patience).is_folder():
                    raise Unfetched("it is a folder: give the address of a file in it")
            return self.file(path)
        with _named(address):
            self._fetch(sketch[own], own)
        others = [file for file in sketch if file.suffix.lower() == _ZIP and file != own]
        before, after = _by_number(own, others)
        self.others = [str(sketch[file]) for file in {*others} - {*before, *after}]
        before = before[max(0, len(before) - earlier) :]
        statistics = self._statistics_of(own, sketch)
        wanted = [*statistics, *before]
        wanted += [file for name in also if (file := own.parent / name) in sketch]
        if buffer:
            from sacdoctor.replay import buffer_of, checkpoint_of

            beside = buffer_of if own.suffix.lower() == _ZIP else checkpoint_of
            found = next((one for file in (own, *before[::-1]) if (one := beside(file))), None)
            wanted += [] if found is None else [found]
            statistics = [file for file in statistics if file != found]
        self._fill(sketch, wanted, {own, *others}, statistics)
        return str(own)

    def run(self, path: str) -> str:
        """Return where the copy of a run's folder is: what `history` and `checkup` look at.

        Raises `SacdoctorError` where it cannot be listed, or nothing of it fetched.
        """
        if (here := path_here(path)) is not None:
            return here
        from sacdoctor.fleet.drivers import place_of

        address = Address(path)
        with _named(address):
            place = place_of(address, self._patience)
            if not place.is_web and not place.is_folder():
                raise Unfetched("it is no folder; scan looks at one checkpoint")
            folder = self._folder(address.kept_as)
            sketch, self.unfetched = self._sketch(place, folder, None)
            if place.is_web and not (sketch or self.unfetched):
                raise Unfetched(f"the server lists no files there; {_FOLDER}")
        wanted, statistics = _files_of_run(folder, sketch)
        self._fill(sketch, wanted, set(), statistics)
        if self.unfetched and not any(file.exists() for file in wanted):
            raise self.unfetched[0]
        return str(folder)

    def run_or_checkpoint(self, path: str) -> str:
        """Return where the copy of a run is, or of a checkpoint and what belongs to it."""
        if (here := path_here(path)) is not None:
            return here
        from sacdoctor.fleet.drivers import place_of

        address = Address(path)
        with _named(address):
            is_folder = place_of(address, self._patience).is_folder()
        return self.run(path) if is_folder else self.checkpoint(path)

    def _folder(self, name: str = "files") -> Path:
        """Return a new folder of this name, which is removed in the end."""
        from tempfile import TemporaryDirectory

        try:
            new = self._stack.enter_context(TemporaryDirectory(prefix="sacdoctor-"))
            folder = Path(os.path.realpath(new)) / name
            folder.mkdir()
        except OSError as error:
            raise unkept(error) from None
        self._folders.append(str(folder))
        return folder

    def _beside(self, address: Address, folder: Path) -> dict[Path, Address]:
        """Return a sketch of the folder that a file is in, empty where that cannot be listed."""
        from sacdoctor.fleet.drivers import place_of

        above = folder_of(address.url)
        if above is None:
            return {}
        try:
            sketch, _ = self._sketch(place_of(Address(above), self._patience), folder, 2)
        except SacdoctorError:
            return {}
        return sketch

    def _sketch(
        self, place: Place, folder: Path, depth: int | None
    ) -> tuple[dict[Path, Address], list[SacdoctorError]]:
        """Put an empty file where each listed one is to be; return which is which, and errors.

        What tells files by their names and neighbours can do so before one is fetched.
        """
        try:
            listed = place.below(depth, _MOST_NAMES)
        except SacdoctorError as error:
            if place.is_web and isinstance(error, Unfetched) and error.is_answer:
                error.reason += f"; {_FOLDER}"
            raise
        shown = str(place.address)
        self._names[str(folder)] = shown if shown.endswith("://") else shown.rstrip("/")
        top = place.address.url.partition("::")[0].rstrip("/") + "/"
        found: dict[Path, Address] = {}
        refused: list[SacdoctorError] = []
        for one in listed:
            name = one.url.partition("::")[0].removeprefix(top).lstrip("/")
            if name.endswith("/"):  # a bucket's mark for a folder
                continue
            try:
                file = folder / _safe(name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch(exist_ok=False)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno not in _OF_NAMES:
                    raise unkept(error) from None
                if name.lower().endswith(_LOOKED_AT):
                    refused.append(Unfetched("no file here can have its name", str(one)))
            else:
                found[file] = one
                self._names[str(file)] = str(one)
        return found, refused

    def _statistics_of(self, own: Path, sketch: Mapping[Path, Address]) -> list[Path]:
        pickles = [file for file, of in sketch.items() if _may_be_statistics(file, of)]
        pickles.sort(key=lambda file: len(file.parts))
        named = [own.parent / name for name in names_of_statistics(own)]
        found = [file for file in named if file in pickles and "vecnorm" in file.name] or pickles
        self._is_alone |= len(found) > _MOST_STATISTICS
        return found[:_MOST_STATISTICS]

    def _fill(
        self,
        sketch: Mapping[Path, Address],
        wanted: list[Path],
        keep: set[Path],
        statistics: Iterable[Path],
    ) -> None:
        """Fetch what is wanted. Of other files that may be looked into only those to `keep` stay,
        empty as they are. Those wanted as `statistics` alone, whose size is told only as they come,
        are none if they are too large."""
        small = MOST_BYTES_OF_STATISTICS
        most = dict.fromkeys(statistics, small) if small < self._patience.max_bytes else {}
        for file in dict.fromkeys(wanted):
            try:
                self._fetch(sketch[file], file, most.get(file))
            except SacdoctorError as error:
                file.unlink(missing_ok=True)
                if not (isinstance(error, TooLarge) and file in most):
                    error.path = str(sketch[file])
                    self.unfetched.append(error)
        for file in sketch.keys() - {*wanted} - keep:
            if file.suffix.lower() in (*_PICKLES, ".npz"):
                file.unlink()

    def _fetch(self, address: Address, file: Path, most: int | None = None) -> None:
        from sacdoctor.fleet.drivers import place_of

        if self._bytes <= 0:
            raise Unfetched("the files before it are as much as is taken; --max-bytes allows more")
        if self._seconds <= 0:
            raise Unfetched("the files before it came too slowly")
        most = min(self._patience.max_bytes, self._bytes, *(() if most is None else (most,)))
        since = monotonic()
        try:
            fetch_into(place_of(address, replace(self._patience, max_bytes=most)), file)
        finally:
            size = file.stat().st_size if file.exists() else 0
            self._bytes -= size
            self._seconds -= monotonic() - since - size / self._patience.pace

    # -- what is said of them ------------------------------------------------------------------

    def looking(self, options: ScanOptions) -> ScanOptions:
        """Return the options, without rules about what lies beside a file if that is not here."""
        return alone(options) if self._is_alone or self.unfetched else options

    def refuse_unfetched(self) -> None:
        """Raise the error for what could not be fetched, for those who cannot do without."""
        if self.unfetched:
            raise self.unfetched[0]

    @property
    def unreadable(self) -> tuple[Report, ...]:
        """A report of status `error` for each file that could not be fetched."""
        return tuple(map(report_of_error, self.unfetched))

    def named(self, value: T) -> T:
        """Return a result with addresses in place of the copies, in all of its texts."""
        return cast("T", _with_texts(value, self._text)) if self._folders else value

    def command(self, text: str) -> str:
        """Return a command to type with addresses in it; what it writes goes to this folder."""
        import shlex

        words = shlex.split(text)
        for at, word in enumerate(words):
            words[at] = self._text(word)
            if words[at] != word and words[at - 1] == "--clean":
                words[at] = words[at].rpartition("/")[2]
        return shlex.join(words)

    def name(self, error: SacdoctorError) -> None:
        """Have an error name addresses."""
        error.reason = self._text(error.reason)
        if error.path is not None:
            error.path = self._text(str(error.path))

    def _text(self, text: str) -> str:
        if text in self._names:
            return self._names[text]
        if any(folder in text for folder in self._folders):
            found = [here for here in self._names if here in text]
            for here in sorted(found, key=len, reverse=True):
                text = text.replace(here, self._names[here])
        return text


def alone(options: ScanOptions) -> ScanOptions:
    """Return the options without rules about what lies beside a file."""
    return replace(options, ignore=(*options.ignore, *_BESIDE))


def _with_texts(value: Any, told: Callable[[str], str]) -> Any:
    """Return a value with other texts, however deep they stand in it; itself if none is another."""
    if isinstance(value, str):
        text = told(value)
        return value if text == value else text
    if isinstance(value, (tuple, list)):
        parts = [_with_texts(part, told) for part in value]
        if all(map(is_, parts, value)):
            return value
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {_with_texts(k, told): _with_texts(v, told) for k, v in value.items()}
    if isinstance(value, Struct):
        return replace(value, **_other_texts(value, value.__struct_fields__, told))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value) if one.init]
        new = _other_texts(value, names, told)
        # A tensor is looked at anew for each that is made.
        return dataclasses.replace(value, **new) if new else value
    return value


def _other_texts(value: Any, names: Iterable[str], told: Callable[[str], str]) -> dict[str, Any]:
    """Return the fields of a value that change with its texts."""
    old = {name: getattr(value, name) for name in names}
    new = {name: _with_texts(of, told) for name, of in old.items()}
    return {name: of for name, of in new.items() if of is not old[name]}


# -- names -------------------------------------------------------------------------------------


def _files_of_run(folder: Path, sketch: Mapping[Path, Address]) -> tuple[list[Path], list[Path]]:
    """Return what `history` and `checkup` look at below a folder, the small files first.

    The second are those of them that can only be statistics.
    """
    from sacdoctor.history import logs_below
    from sacdoctor.replay import buffers_below

    buffers = buffers_below(folder)
    statistics = [file for file, of in sketch.items() if _may_be_statistics(file, of)]
    found = (*logs_below(folder), *statistics, *checkpoints_below(folder), *buffers)
    return [*dict.fromkeys(found)], [file for file in statistics if file not in buffers]


def _by_number(own: Path, others: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the checkpoints that a `CheckpointCallback` saved before one, the last at the end, and
    after it. Before one without a number are all."""
    from sacdoctor.replay import numbered

    own_number = numbered(own)
    found: list[tuple[int, Path]] = []
    for other in others:
        number = numbered(other)
        is_kin = number and (own_number is None or number[0] == own_number[0])
        if number and is_kin and other.parent == own.parent:
            found.append((number[1], other))
    found.sort()
    at = float("inf") if own_number is None else own_number[1]
    return [one for n, one in found if n < at], [one for n, one in found if n > at]


def _may_be_statistics(file: Path, address: Address) -> bool:
    return may_be_statistics(file, address.size) and "replay_buffer" not in file.name


def _safe(name: str) -> Path:
    """Return a listed name as a path that leads nowhere else; raises `ValueError` for others."""
    path = Path(name)
    if len(path.parts) > MOST_LEVELS:
        raise ValueError(name)
    if path.is_absolute() or path.drive or ".." in path.parts or [*path.parts] != name.split("/"):
        raise ValueError(name)
    return path


@contextmanager
def _named(address: Address) -> Iterator[None]:
    """Have errors that are raised within name an address."""
    try:
        yield
    except SacdoctorError as error:
        error.path = str(address)
        raise
