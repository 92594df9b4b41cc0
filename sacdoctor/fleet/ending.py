"""How a verb ends that keeps copies: they are removed, whoever ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have a closed terminal, `kill` and `timeout` end the process as Ctrl-C does.

    Left to itself Python ends at once then, and gigabytes of copies stay.
    """
    kinds = [kind for name in ("SIGTERM", "SIGHUP") if (kind := getattr(signal, name, None))]
    with ExitStack() as stack:
        for kind in kinds:
            if signal.getsignal(kind) is signal.SIG_DFL:
                stack.enter_context(_heeding(kind, _end))
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have a second Ctrl-C wait for nothing that takes long: copies are being removed."""
    with _heeding(signal.SIGINT, signal.SIG_IGN):
        yield


@contextmanager
def _heeding(kind: int, handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # others may not say what happens on a signal
        return
    before = signal.signal(kind, handler)
    try:
        yield
    finally:
        signal.signal(kind, signal.SIG_DFL if before is None else before)


def _end(kind: int, frame: object) -> None:
    raise SystemExit(128 + kind)  # as shells report it
