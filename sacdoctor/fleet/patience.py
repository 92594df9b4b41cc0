"""How far a fetch may go: bytes, seconds, tries; and what is said where one fails."""

from __future__ import annotations

from collections.abc import Callable
from errno import ENOSPC
from time import monotonic
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from sacdoctor.errors import SacdoctorError
from sacdoctor.fleet.address import Address, secrets_in

T = TypeVar("T")

MOST_BYTES = 4 * 1024**3
_STATUS_WORDS = {
    401: "the server asks who you are (401)",
    403: "the server does not let you read it (403)",
    404: "there is no such file (404)",
}
_MAX_WORDS = 200
MOST_LEVELS = 32
"""Folders in one another that are looked into, and made for copies; runs have a few. A page that
leads to itself lies in itself, and Python makes and removes folders with a call for each."""


class Sink(Protocol):
    """Where the bytes of a file go, in their order."""

    def write(self, part: bytes, /) -> Any: ...


class Unfetched(SacdoctorError):
    """A file that is elsewhere could not be fetched; nothing is known of what it holds.

    `is_answer`: that is what a server said, and not that there was none.
    """

    is_answer = False


class TooLarge(Unfetched):
    """It has more bytes than are taken."""


class NoRanges(Exception):
    """The server answers with the whole file where a part of it was asked for."""


class PassingTrouble(Exception):
    """The server cannot answer now, and may do so in a moment; `args` has the words for it."""


class Patience(Struct, frozen=True):
    """What a file that is elsewhere may take.

    `max_bytes` of it are taken at most. A server may be silent for
    `silence` seconds, and after `grace` seconds has to have sent `pace` bytes per second: less is
    no network, but somebody who holds the line. So is one whose pages, which list files, take more
    than `page` seconds each in the mean. `tries` are made where trouble may pass, `wait`
    seconds after the first failure and twice as long after each other.
    """

    max_bytes: int = MOST_BYTES
    silence: float = 30.0
    grace: float = 60.0
    pace: int = 32 * 1024
    page: float = 0.5
    tries: int = 4
    wait: float = 0.5

    @classmethod
    def of(cls, max_bytes: int | None) -> Patience:
        """Return the usual one, with another limit of bytes where one is asked for."""
        return cls() if max_bytes is None else cls(max_bytes)

    def seconds(self, size: int) -> float:
        """Return how long so many bytes may take."""
        return self.grace + size / self.pace

    def refuse_slow(self, since: float, received: int) -> None:
        """Raise `Unfetched` where what was received since (`time.monotonic()`) is too little."""
        if monotonic() - since > self.seconds(received):
            raise Unfetched(
                f"it comes too slowly: {received:,} bytes in {monotonic() - since:.0f} seconds"
            )

    def refuse_large(self, size: int) -> None:
        """Raise `Unfetched` where so many bytes are more than is allowed."""
        if size > self.max_bytes:
            raise TooLarge(
                f"it has more than {self.max_bytes:,} bytes and was not fetched; --max-bytes "
                "allows more"
            )

    def again(self, action: Callable[[], T]) -> T:
        """Return what `action` does, tried again where what it meets may pass."""
        from tenacity import (
            Retrying,
            retry_if_exception,
            stop_after_attempt,
            wait_random_exponential,
        )

        retrying = Retrying(
            stop=stop_after_attempt(self.tries),
            wait=wait_random_exponential(multiplier=self.wait, max=30),
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        found: T = retrying(action)
        return found


def within(seconds: float, action: Callable[[], T]) -> T:
    """Return what `action` does; raises `TimeoutError` where it takes longer.

    Some drivers know no time limit. What one is still at then ends with the process.
    """
    from concurrent.futures import Future
    from threading import Thread

    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(action())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=work, daemon=True).start()
    return done.result(seconds)


def in_words(error: BaseException, address: Address | str) -> Unfetched:
    """Return the error to show for one of a driver's, whose text may quote an address as it is."""
    if isinstance(error, Unfetched):
        return error
    url = address.url if isinstance(address, Address) else address
    found = Unfetched(_reason(error, url))
    found.is_answer = isinstance(error, FileNotFoundError) or _status(error) is not None
    return found


def _reason(error: BaseException, url: str) -> str:
    status = _status(error)
    if type(error).__name__ == "TooManyRedirects":
        return "the server sends one on from place to place"
    if status is not None:
        return _STATUS_WORDS.get(status, f"the server answers {status}")
    if isinstance(error, PassingTrouble):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    if isinstance(error, PermissionError):
        return "you may not read it; are there credentials for it?"
    if isinstance(error, TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, OSError) and error.errno == ENOSPC:
        return "it cannot be kept: the disk is full"
    if isinstance(error, NoRanges):
        return "the server sends another part of it than was asked for"
    kind = type(error).__name__
    if kind in ("ClientPayloadError", "ServerDisconnectedError"):
        return "the server breaks off before all has come"
    if "NonHttpUrl" in kind or "InvalidUrlRedirect" in kind:
        return "the server sends one on to what is no web address, which was not followed"
    kinds = {cls.__name__ for cls in type(error).__mro__}
    if kinds & _NO_SERVER and not kinds & _MISTRUSTED:
        return "no server answers there: is the address right, and is there a network?"
    if kind == "NoCredentialsError":
        return "there are no credentials for it"
    words = " ".join(str(error).split())
    if any(part in words for part in (url, *secrets_in(url))):
        words = ""
    return f"it cannot be fetched: {kind}" + (f": {words[:_MAX_WORDS]}" if words else "")


def _status(error: BaseException) -> int | None:
    """Return the status of a server's answer, where aiohttp, the Hub or gcsfs put it."""
    answer = getattr(error, "response", None)
    places = ((error, "status"), (answer, "status_code"), (error, "code"))
    found = (getattr(thing, name, None) for thing, name in places)
    return next((status for status in found if isinstance(status, int)), None)


def _may_pass(error: BaseException) -> bool:
    """Return whether it may be otherwise in a moment: no answer, or one that says so."""
    status = _status(error)
    if status is not None:
        return status in (408, 425, 429, 500, 502, 503, 504)
    if isinstance(error, TimeoutError):
        return False  # it had its time
    if isinstance(error, PassingTrouble | ConnectionError):
        return True
    return any(cls.__name__ in _PASSING for cls in type(error).__mro__)


_NO_SERVER = {"ClientConnectorError", "ConnectError", "EndpointConnectionError", "gaierror"}
_NO_SERVER |= {"ConnectionRefusedError", "NoValidConnectionsError"}
_MISTRUSTED = {"ClientSSLError", "ClientConnectorCertificateError", "SSLError"}
"""Of aiohttp, httpx, botocore and paramiko: nobody is there, or somebody with a bad certificate."""
_PASSING = {"ClientConnectionError", "ClientPayloadError", "EndpointConnectionError"}
"""Of aiohttp and botocore, which are not imported for it: connections that broke off."""
