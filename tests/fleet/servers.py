"""Web servers on this machine, kind and hostile, which count the bytes that they send."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers as its server says; `server.sent` are the bytes of bodies."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        try:
            self.server.answer(self)
        except OSError:
            self.close_connection = True  # the client has seen enough

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def begin(self, status: int, size: int | None, **headers: str) -> None:
        self.send_response(status)
        if size is not None:
            self.send_header("Content-Length", str(size))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, body: bytes) -> None:
        self.wfile.write(body)
        self.server.sent += len(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    answer: Answer
    sent = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    def url(self, path: str = "model.zip", user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.server_port}/{path}"


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    with Server() as server:
        server.answer = answer
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def files(contents: dict[str, bytes], *, ranges: bool) -> Answer:
    """Serve files, and pages that list folders; without `ranges` each request gets all."""

    def answer(handler: Handler) -> None:
        name = handler.path.partition("?")[0].lstrip("/")
        if name not in contents:
            below = {
                key[len(name) :].partition("/")[0] + ("/" if "/" in key[len(name) :] else "")
                for key in contents
                if key.startswith(name)
            }
            if not (below and (name.endswith("/") or not name)):
                handler.send_error(404)
                return
            page = "".join(f'<a href="{one}">{one}</a>' for one in sorted(below)).encode()
            handler.begin(200, len(page), Content_Type="text/html")
            handler.send(page)
            return
        body = contents[name]
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        if not ranges or asked is None:
            handler.begin(200, len(body))
            handler.send(body)
            return
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(body))
        told = f"bytes {start}-{end - 1}/{len(body)}"
        handler.begin(206, end - start, Content_Range=told)
        handler.send(body[start:end])

    return answer


def endless(handler: Handler) -> None:
    """Send a body without an end, and without a word on its length."""
    handler.begin(200, None, Connection="close")
    while True:
        handler.send(bytes(1 << 20))


def endless_part(handler: Handler) -> None:
    """Say that it is the part that was asked for, of a large file, and send without an end."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", "bytes=0-9"))
    assert asked is not None
    told = f"bytes {asked[1]}-{asked[2]}/50000000"
    handler.begin(206, None, Content_Range=told, Connection="close")
    while True:
        handler.send(b"PK" * (1 << 19))


def too_short(handler: Handler) -> None:
    """Promise more bytes than come."""
    handler.begin(200, 100_000, Connection="close")
    handler.send(bytes(1000))
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Send a byte at a time, often enough that nobody thinks it is dead."""
    handler.begin(200, 10**6)
    while True:
        handler.send(b"P")
        time.sleep(0.05)


def silence(handler: Handler) -> None:
    """Take the request, and say nothing."""
    time.sleep(5)


def sent_on_to(place: str) -> Answer:
    """Say that the file is at another place."""

    def answer(handler: Handler) -> None:
        handler.begin(302, 0, Location=place)

    return answer
