"""The bytes of a file that is elsewhere, fetched as they are asked for, each once."""

from __future__ import annotations

from collections.abc import Iterable

from sacdoctor.fleet import web
from sacdoctor.fleet.drivers import Place
from sacdoctor.fleet.patience import NoRanges, Unfetched, in_words

WORTH = 1024**2
"""Bytes from which parts of a file are asked for: a smaller one has come before they have."""
_BLOCK = 512
"""Bytes. The local headers of a zip's members are small, and stand far from each other."""
_JOINED = 16
"""Blocks between two spans that are fetched along: a request takes longer."""
_HEAD, _TAIL = 16 * 1024, 72 * 1024
"""Bytes that are fetched first: by them the kind of a file is told, and a zip's directory found."""


class RemoteRanges:
    """The parts of a file, kept in memory once they have come (see `files.Ranges`)."""

    def __init__(self, place: Place, size: int) -> None:
        self.size = size
        self._place = place
        self._blocks: dict[int, bytes] = {}
        self._left = place.patience.max_bytes

    def read_into(self, target: memoryview, at: int) -> None:
        """Fill `target` with the bytes from `at` on; raises `Unfetched`."""
        self.ahead([(at, len(target))])
        first = at // _BLOCK
        blocks = range(first, -(-(at + len(target)) // _BLOCK))
        held = b"".join(self._blocks[block] for block in blocks)
        target[:] = held[at - first * _BLOCK :][: len(target)]

    def ahead(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch what is lacking of these spans (start, bytes), all at once; raises `Unfetched`."""
        lacking = {
            block
            for at, size in spans
            for block in range(at // _BLOCK, -(-(at + size) // _BLOCK))
            if block not in self._blocks
        }
        runs = _runs(sorted(lacking))
        if not runs:
            return
        wanted = [(first * _BLOCK, min((last + 1) * _BLOCK, self.size)) for first, last in runs]
        self._left -= sum(end - start for start, end in wanted)
        if self._left < 0:
            raise Unfetched("more of it was asked for than --max-bytes allows")
        place = self._place
        try:
            parts = place.patience.again(lambda: place.ranges(wanted, self.size))
        except Exception as error:
            raise in_words(error, place.address) from None
        for (start, _), part in zip(wanted, parts, strict=True):
            self._keep(start, part)

    @property
    def is_zip(self) -> bool:
        """Whether it begins as a zip does."""
        return self._blocks[0].startswith(b"PK")

    def _keep(self, start: int, part: bytes) -> None:
        for at in range(0, len(part), _BLOCK):
            self._blocks[(start + at) // _BLOCK] = part[at : at + _BLOCK]


def ranges_of(place: Place) -> RemoteRanges | None:
    """Return the parts of a file, with those that are always asked for.

    None where it is better fetched whole: it is small, or its server sends no parts. Raises
    `Unfetched` where it is not to be had.
    """
    patience = place.patience
    try:
        if place.is_web:
            heads, size = patience.again(
                lambda: web.ranges(place.fs, place.path, [(0, _HEAD)], None, patience)
            )
        else:
            known = place.address.size
            size = known if known is not None else place.size() or 0
            heads = []
        if size < WORTH:
            return None
        found = RemoteRanges(place, size)
        for head in heads:
            found._keep(0, head)
        found.ahead([(0, _HEAD), (size - _TAIL, _TAIL)])
    except NoRanges:
        return None
    except Exception as error:
        raise in_words(error, place.address) from None
    return found


def _runs(blocks: list[int]) -> list[tuple[int, int]]:
    """Return the first and last block of each run, where small gaps are no gaps."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and block - runs[-1][1] <= _JOINED:
            runs[-1] = runs[-1][0], block
        else:
            runs.append((block, block))
    return runs
