"""What the things in a pickle are here: names and calls as symbols, keys that are safe to hash."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

MAX_KEY_PARTS = 16
"""Items of a tuple that is a dict's key; hashing it takes time whenever it is used."""
_KEY_TYPES = (str, float, bytes, bool, type(None))


class Name(Struct, frozen=True):
    """A class or function that a pickle refers to."""

    module: str
    qualname: str

    def __str__(self) -> str:
        return f"{self.module}.{self.qualname}"


class Made(Struct, eq=False):
    """An object that a pickle would have made by calling `function`."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    states: list[Any] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


def as_key(key: Any) -> Any:
    """Return a dict key that is quick and safe to hash.

    A tuple nested a few dozen times in itself takes longer to hash than anyone will wait, and
    large whole numbers can be chosen to share one hash. So only short flat keys are taken as they
    are; any other stands under its own identity.
    """
    if _is_plain(key):
        return key
    if isinstance(key, tuple) and len(key) <= MAX_KEY_PARTS and all(map(_is_plain, key)):
        return key
    return Name("object", str(id(key)))


def _is_plain(key: Any) -> bool:
    return isinstance(key, _KEY_TYPES) or (type(key) is int and abs(key) < 2**63)
