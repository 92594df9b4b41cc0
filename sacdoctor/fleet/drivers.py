"""The drivers of fsspec: what stands at an address, and its bytes, whole or in parts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sacdoctor.fleet import web
from sacdoctor.fleet.address import Address, is_address
from sacdoctor.fleet.patience import (
    MOST_LEVELS,
    NoRanges,
    Patience,
    Sink,
    Unfetched,
    in_words,
    within,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_EXTRAS = {
    "s3": ("s3", "s3fs"),
    "s3a": ("s3", "s3fs"),
    "gs": ("gcs", "gcsfs"),
    "gcs": ("gcs", "gcsfs"),
    "hf": ("hf", "huggingface_hub"),
    "ssh": ("ssh", "paramiko"),
    "sftp": ("ssh", "paramiko"),
    "abfs": ("azure", "adlfs"),
    "abfss": ("azure", "adlfs"),
    "az": ("azure", "adlfs"),
}
"""Schemes, the extra of this package that brings their driver, and where that comes from."""
_LOUD = ("fsspec", "s3fs", "gcsfs", "aiohttp", "asyncio", "botocore", "aiobotocore", "paramiko")
_STREAM = 8 * 1024**2
"""Bytes that are asked for at once where a file is read from its start to its end."""
_MOST_FOLDERS = 10_000
"""Folders of a web server that are looked into: its pages may lead on without end."""


class Place(Struct, frozen=True):
    """A driver, and the path that an address has there."""

    fs: AbstractFileSystem
    path: str
    address: Address
    patience: Patience

    @property
    def is_web(self) -> bool:
        """Whether anybody may be at the other end, who need not keep to any rule."""
        return "http" in self.fs.protocol

    def size(self) -> int | None:
        """Return how many bytes it has, None where that is not told before they come."""
        size = self._asked(self.fs.info, self.path).get("size")
        return size if isinstance(size, int) else None

    def ranges(self, spans: Sequence[tuple[int, int]], size: int) -> list[bytes]:
        """Return the bytes of spans (start, end) of a file of `size` bytes.

        Raises `NoRanges` where the server sends the whole file, and whatever the driver raises.
        """
        if self.is_web:
            found, _ = web.ranges(self.fs, self.path, spans, size, self.patience)
            return found
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        asked = sum(ends) - sum(starts)
        found = within(
            self.patience.seconds(asked),
            lambda: self.fs.cat_ranges([self.path] * len(spans), starts, ends, on_error="raise"),
        )
        for part, (start, end) in zip(found, spans, strict=True):
            if len(part) != end - start:
                raise NoRanges
        return [bytes(part) for part in found]

    def stream_into(self, file: Sink) -> None:
        """Write the whole file to another; raises `Unfetched`, and whatever the driver raises."""
        if self.is_web:
            web.stream_into(self.fs, self.path, file, self.patience)
            return
        patience = self.patience
        size = self.address.size if self.address.size is not None else self.size()
        patience.refuse_large(size or 0)
        since, received = monotonic(), 0
        with within(patience.grace, self._open) as source:
            while part := within(patience.seconds(_STREAM), lambda: source.read(_STREAM)):
                received += len(part)
                patience.refuse_large(received)
                patience.refuse_slow(since, received)
                file.write(part)
        if size is not None and received != size:
            raise Unfetched(f"{received:,} bytes came of the {size:,} that it should have")

    def _open(self) -> Any:
        return self.fs.open(self.path, "rb", block_size=_STREAM, cache_type="none")

    def _asked(self, question: Any, *args: Any, **options: Any) -> Any:
        try:
            return self.patience.again(
                lambda: within(self.patience.grace, lambda: question(*args, **options))
            )
        except Exception as error:
            raise in_words(error, self.address) from None

    # -- what stands there ---------------------------------------------------------------------

    def below(self, depth: int | None = None, most: int | None = None) -> list[Address]:
        """Return the files below it where it is a folder, in order.

        `depth` levels are looked into, None: all. Raises `Unfetched` where there are more than
        `most` of them.
        """
        found: dict[str, int | None]
        if self.is_web:
            names = self._linked(self.path.rstrip("/") + "/", depth)
            found = dict.fromkeys(islice(names, None if most is None else most + 1))
        else:
            infos = self._asked(self.fs.find, self.path, maxdepth=depth, detail=True)
            found = {name: info.get("size") for name, info in infos.items()}
        if most is not None and len(found) > most:
            raise Unfetched(f"more than {most:,} files are below it: give the folder of one run")
        return self._named(found)

    def is_folder(self) -> bool:
        """Return whether it is a folder.

        Of web servers those end with a slash; without it and without a dot, where files are listed.
        """
        if self.is_web:
            return self.path.endswith("/") or self._lists_files()
        return bool(self._asked(self.fs.info, self.path).get("type") == "directory")

    def _lists_files(self) -> bool:
        if "." in self.address.name or "?" in self.path or "#" in self.path:
            return False
        try:
            return next(self._linked(f"{self.path}/", 2), None) is not None
        except Unfetched:
            return False

    def is_there(self) -> bool:
        """Return whether there is a file of this very name."""
        return bool(self._asked(self.fs.exists, self.path))

    def matching(self) -> list[Address]:
        """Return the files that it stands for where it is a pattern, in order."""
        if not self.is_web:
            found = self._asked(self.fs.glob, self.path, detail=True)
            files = {n: i.get("size") for n, i in found.items() if i.get("type") != "directory"}
            return self._named(files)
        import re

        from fsspec.utils import glob_translate

        magic = re.search(r"[*\[]", self.path)
        root = self.path[: magic.start() if magic else len(self.path)].rpartition("/")[0] + "/"
        depth = None if "**" in self.path else self.path[len(root) :].count("/") + 1
        fits = re.compile(glob_translate(self.path))
        return self._named(dict.fromkeys(n for n in self._linked(root, depth) if fits.match(n)))

    def _linked(self, root: str, depth: int | None) -> Iterator[str]:
        """Yield the files that a web server's page of a folder leads to, and the pages below."""
        seen, open_ = {root}, [(root, 1)]
        since, pages = monotonic(), 0
        while open_:
            if monotonic() - since > self.patience.grace + pages * self.patience.page:
                raise Unfetched("its pages, which list its files, come too slowly")
            pages += 1
            page, level = open_.pop()
            if level > MOST_LEVELS:
                raise Unfetched(f"its pages lead to more than {MOST_LEVELS} folders in one another")
            for name in sorted(self._asked(self.fs.ls, page, detail=False)):
                if "?" in name or "#" in name or not name.startswith(root):
                    continue  # pages sort themselves by links to themselves
                if not name.endswith("/"):
                    yield name
                elif name not in seen and (depth is None or level < depth):
                    seen.add(name)
                    open_.append((name, level + 1))
            if len(seen) > _MOST_FOLDERS:
                raise Unfetched(f"its pages lead to more than {_MOST_FOLDERS:,} folders")

    def _named(self, sizes: dict[str, int | None]) -> list[Address]:
        """Return the addresses of listed files, in order.

        Whoever names a file may not write a chain of addresses, which could lead to a file here: a
        web server knows the name as it is escaped, for others there is no such file.
        """
        link, chained, rest = self.address.url.partition("::")
        path = self.path.rstrip("/")
        at = link.rfind(path)
        start = link[:at] if at >= 0 else f"{link.partition('://')[0]}://"
        return [
            Address(start + name.replace("::", "%3A%3A") + chained + rest, size)
            for name, size in sorted(sizes.items())
        ]


def place_of(address: Address, patience: Patience) -> Place:
    """Return where an address leads; raises `Unfetched` where no driver is installed for it."""
    scheme = address.url.partition("://")[0].partition("::")[0].lower()
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise _lacking(scheme, "fsspec") from None
    for name in _LOUD:  # they log addresses as they are
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        fs, path = url_to_fs(address.url, **_options(address.url))
    except ImportError as error:
        raise _lacking(scheme, error.name or "another package") from None
    except ValueError as error:
        if "rotocol not known" in str(error):
            raise Unfetched(f"nothing is known of addresses that begin with {scheme}://") from None
        raise in_words(error, address) from None
    except Exception as error:
        raise in_words(error, address) from None
    return Place(fs, path, address, patience)


def _options(url: str) -> dict[str, Any]:
    """Return what drivers are to be made with: each link of a chain has its own."""
    links = [link if "://" in link else f"{link}://" for link in url.split("::")]
    schemes = [link.partition("://")[0].lower() for link in links if is_address(link)]
    web_schemes = [scheme for scheme in schemes if scheme in ("http", "https")]
    if not web_schemes:
        return {}
    try:
        options = web.driver_options()
    except ImportError:
        raise _lacking(web_schemes[0], "aiohttp") from None
    return options if len(links) == 1 else dict.fromkeys(web_schemes, options)


def _lacking(scheme: str, package: str) -> Unfetched:
    """Return what to say where there is no driver: `package` is what others need."""
    extra, package = _EXTRAS.get(scheme, ("remote", package))
    return Unfetched(f"{scheme}:// needs {package}: pip install 'sacdoctor[{extra}]'")
