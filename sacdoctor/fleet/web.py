"""Files of web servers, which anybody may run: nothing that one sends is taken without a limit.

The session is that of fsspec's driver, so its proxies, headers and sign-ons hold.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from sacdoctor.fleet.patience import NoRanges, PassingTrouble, Patience, Sink, Unfetched

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_PART = 1024**2
_MOST_AT_ONCE = 16
_MOST_REDIRECTS = 10
_MOST_READ = 64 * 1024**2
"""Bytes of a page that lists files, or of a part that another driver asks for."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_CONNECT = 15.0


@cache
def driver_options() -> dict[str, Any]:
    """Return what fsspec makes its driver with, which it makes anew for anything else."""
    import aiohttp

    class Bounded(aiohttp.ClientResponse):
        """An answer that is not read without end."""

        async def read(self) -> bytes:
            if self._body is None:
                body = bytearray()
                async for part in self.content.iter_chunked(_PART):
                    body += part
                    if len(body) > _MOST_READ:
                        self.close()
                        raise Unfetched(f"a page or a part of it has over {_MOST_READ:,} bytes")
                self._body = bytes(body)
            return self._body

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=30.0)
    return {"client_kwargs": {"timeout": timeout, "response_class": Bounded}}


def ranges(
    fs: Any, url: str, spans: Sequence[tuple[int, int]], size: int | None, patience: Patience
) -> tuple[list[bytes], int]:
    """Return the bytes of spans (start, end) of a file, and how many it has.

    Raises `NoRanges` where the server answers with anything else; `size` is what the file is to
    have, None where that is not known yet.
    """
    from fsspec.asyn import sync

    async def all_of_them() -> list[tuple[bytes, int]]:
        session = await fs.set_session()
        line = asyncio.Semaphore(_MOST_AT_ONCE)

        async def one(start: int, end: int) -> tuple[bytes, int]:
            async with line, asyncio.timeout(patience.seconds(end - start)):
                headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
                async with session.get(
                    fs.encode_url(url), headers=headers, max_redirects=_MOST_REDIRECTS
                ) as answer:
                    return await _part(answer, start, end, size)

        return [*await asyncio.gather(*(one(start, end) for start, end in spans))]

    found = sync(fs.loop, all_of_them)
    return [part for part, _ in found], found[0][1]


async def _part(
    answer: ClientResponse, start: int, end: int, size: int | None
) -> tuple[bytes, int]:
    if answer.status == 416 and size is None:
        raise NoRanges  # an empty file has no first byte
    answer.raise_for_status()
    told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status != 206 or told is None:
        raise NoRanges
    first, last, whole = map(int, told.groups())
    end = min(end, whole)
    if (first, last + 1) != (start, end) or (size is not None and whole != size):
        raise NoRanges
    try:
        # No byte more than was asked for is taken, whatever the length that it claims.
        return await answer.content.readexactly(end - start), whole
    except asyncio.IncompleteReadError:
        raise PassingTrouble("the server breaks off before all has come") from None


def stream_into(fs: Any, url: str, file: Sink, patience: Patience) -> None:
    """Write a whole file to another. Raises `Unfetched` for one that is too long or too slow."""
    from fsspec.asyn import sync

    async def stream() -> None:
        session = await fs.set_session()
        since, received = monotonic(), 0
        async with asyncio.timeout(patience.grace) as limit:
            async with session.get(
                fs.encode_url(url),
                headers={"Accept-Encoding": "identity"},
                max_redirects=_MOST_REDIRECTS,
            ) as answer:
                answer.raise_for_status()
                patience.refuse_large(answer.content_length or 0)
                while True:
                    now = asyncio.get_running_loop().time()
                    limit.reschedule(now + patience.silence)
                    part = await answer.content.read(_PART)
                    if not part:
                        return
                    received += len(part)
                    patience.refuse_large(received)
                    patience.refuse_slow(since, received)
                    file.write(part)

    sync(fs.loop, stream)
