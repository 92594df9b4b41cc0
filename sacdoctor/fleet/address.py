"""Addresses of files that are elsewhere, and how they are named without what opens them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(://|::.*://)")
_SCHEME = re.compile(r"(?:^|(?<=::))[A-Za-z][A-Za-z0-9+.\-]+(?=://|::)")
_WEB = ("http", "https")
_HERE = ("file://", "local://")
_TOLD = frozenset(
    [
        "alt",
        "dl",
        "download",
        "export",
        "file",
        "filename",
        "format",
        "id",
        "name",
        "path",
        "raw",
        "ref",
        "rev",
        "revision",
        "v",
        "version",
        "versionid",
    ]
)
"""Keys of a query that say which file it is. What others hold may be a signature or a key."""
_HIDDEN = "…"
_MOST_LETTERS = 100


@dataclass(frozen=True, slots=True)
class Address:
    """A file that a driver of fsspec reaches; `str()` is it without credentials.

    `url` may hold some, so it is for drivers alone. `size` in bytes is what a listing said of it.
    One that is not `is_asked_for` was found where any file may hold a pickle: it counts if it does.
    """

    url: str = field(repr=False)
    size: int | None = None
    is_asked_for: bool = True

    def __post_init__(self) -> None:
        # Schemes are the same in capitals (RFC 3986, 3.1); drivers know them in small letters.
        small = _SCHEME.sub(lambda match: match[0].lower(), self.url)
        object.__setattr__(self, "url", small)

    def __str__(self) -> str:
        return without_credentials(self.url)

    @property
    def name(self) -> str:
        """The last part of its path."""
        link = self.url.partition("::")[0]
        if link.partition("://")[0].lower() in _WEB:
            link = re.split("[?#]", link)[0]
        return link.rstrip("/").rpartition("/")[2]

    @property
    def kept_as(self) -> str:
        """The name that a copy of it has here, whatever its own is."""
        name = Path(self.name.replace("\0", "")[-_MOST_LETTERS:]).name
        return name if name.strip(".") else "file"


def is_address(text: str) -> bool:
    """Return whether a text is written as an address is, `s3://bucket/model.zip`, not as a path."""
    return _ADDRESS.match(text) is not None


def path_here(text: str) -> str | None:
    """Return the path of a file on this machine; None for an address of one that is elsewhere."""
    if not is_address(text) or os.path.lexists(text):
        return text
    is_here = text.startswith(_HERE) and "::" not in text
    return text.partition("://")[2] if is_here else None


def folder_of(url: str) -> str | None:
    """Return the address of the folder that one is in; None where a query says what it is."""
    link, chained, rest = url.partition("::")
    scheme, mark, path = link.partition("://")
    if scheme.lower() in _WEB and (re.search("[?#]", path) or "/" not in path):
        return None
    above, slash, _ = path.rpartition("/")
    return f"{scheme}{mark}{above}{slash}{chained}{rest}"


def without_credentials(url: str) -> str:
    """Return an address as it may be shown: no user, no password, no signed query, no fragment."""
    return "::".join(map(_shown, url.split("::")))


def secrets_in(url: str) -> set[str]:
    """Return what of an address must not be shown, in pieces."""
    found: set[str] = set()
    for link in url.split("::"):
        rest = link.partition("://")[2]
        user, _, _ = _authority(rest).rpartition("@")
        found |= {user, *user.split(":")}
        found |= {part.partition("=")[2] or part for part in re.split("[?&#]", rest)[1:]}
    return {part for part in found if len(part) > 2}


def _shown(link: str) -> str:
    scheme, mark, rest = link.partition("://")
    if not mark:
        return link
    authority = _authority(rest)
    rest = authority.rpartition("@")[2] + rest[len(authority) :]
    is_web = scheme.lower() in _WEB
    if is_web:
        rest = rest.partition("#")[0]
    path, mark, query = rest.partition("?")
    if not mark:
        return f"{scheme}://{path}"
    return f"{scheme}://{path}?" + "&".join(_told(part, is_web) for part in query.split("&"))


def _authority(rest: str) -> str:
    """Return what stands before the path. A slash in a password is part of it, however wrong."""
    authority = rest.partition("/")[0]
    port = authority.partition("]")[2] if authority.startswith("[") else authority
    if "@" not in authority and re.search(r":(?!\d*$)", port) and "@" in rest:
        return rest[: rest.rfind("@") + 1] + rest[rest.rfind("@") + 1 :].partition("/")[0]
    return authority


def _told(part: str, is_web: bool) -> str:
    key, mark, _ = part.partition("=")
    if key.lower() in _TOLD or (not mark and not is_web):  # `?` stands in patterns, too
        return part
    return f"{key}={_HIDDEN}" if mark else _HIDDEN
