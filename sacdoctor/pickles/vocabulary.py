"""What a pickle's names become: the questions that the machine asks, and two ways to answer them.

`Symbols` takes every name for a symbol. `ListedNames` reads a mapping: from the names that a kind
of file needs to what they become.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from sacdoctor.errors import CorruptCheckpoint, UnlistedName, UnsupportedCheckpoint
from sacdoctor.pickles.values import Made, Name


class Vocabulary(Protocol):
    """What a pickle's names, calls and states become."""

    def name(self, module: str, qualname: str, protocol: int) -> Any:
        """Return what the name stands for, or raise `UnlistedName`.

        In a pickle of a protocol below 3 it may be a name of Python 2.
        """

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what calling `function`, a thing that `name` returned, makes."""

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what `cls.__new__(cls, *args, **kwargs)` makes."""

    def build(self, thing: Any, state: Any) -> None:
        """Give `thing` its state, as `__setstate__` or `__dict__.update` would."""

    def persistent(self, identity: Any) -> Any:
        """Return what a persistent id (in torch files: a storage) stands for."""

    def computed(self, what: str) -> Any:
        """Return what stands for a thing that is known only by running the pickle, or raise."""


class TakesState:
    """A thing that a listed function makes, whose state says more about it."""

    __slots__ = ()

    def set_state(self, state: Any) -> None:
        raise NotImplementedError


class Symbols:
    """The vocabulary that takes every name for a symbol: nothing is refused, nothing happens."""

    def name(self, module: str, qualname: str, protocol: int) -> Name:
        return Name(module, qualname)

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return Made(function, args, kwargs)

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.call(cls, args, kwargs)

    def build(self, thing: Any, state: Any) -> None:
        if isinstance(thing, Made):
            thing.states.append(state)

    def persistent(self, identity: Any) -> Made:
        return Made(Name("pickle", "persistent_load"), (identity,))

    def computed(self, what: str) -> NoReturn:
        raise _computed(what)


class ListedNames:
    """The vocabulary that knows a short list of names and stops at any other.

    `names` maps (module, qualname) to what it becomes: a function of this project that builds the
    value from the arguments in the pickle, a `Name` whose calls are kept as `Made`, or a constant.
    `reader` is what needs no other name, in words.

    Things that take a state get it; the states of others are passed over, since none matters here
    (an `OrderedDict` carries its module versions that way). A state for a listed thing itself,
    which would change a function or class that everybody uses, is refused.
    """

    def __init__(
        self,
        names: Mapping[tuple[str, str], Any],
        persistent: Callable[[Any], Any] | None = None,
        reader: str = "state dict",
    ) -> None:
        self._names = names
        self._callable = {id(value) for value in names.values() if callable(value)}
        self._listed = {id(value) for value in names.values()}
        self._persistent = persistent
        self._reader = reader

    def name(self, module: str, qualname: str, protocol: int) -> Any:
        try:
            return self._names[module, qualname]
        except KeyError:
            raise unlisted(Name(module, qualname), self._reader) from None

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, Name) and not kwargs:
            return Made(function, args)
        if id(function) not in self._callable or kwargs:
            raise CorruptCheckpoint("its pickle calls something that cannot be called")
        try:
            return function(*args)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise CorruptCheckpoint(
                f"its pickle gives wrong arguments to {getattr(function, '__name__', '?')}: {error}"
            ) from None

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.call(cls, args, kwargs)

    def build(self, thing: Any, state: Any) -> None:
        if isinstance(thing, TakesState):
            thing.set_state(state)
        elif isinstance(thing, Made):
            thing.states.append(state)
        elif id(thing) in self._listed:
            raise CorruptCheckpoint("its pickle changes a function or class that it refers to")

    def persistent(self, identity: Any) -> Any:
        if self._persistent is None:
            raise CorruptCheckpoint("its pickle refers to a storage, and there is none")
        return self._persistent(identity)

    def computed(self, what: str) -> NoReturn:
        raise _computed(what)


def unlisted(name: Name, reader: str) -> UnlistedName:
    """Return the error about a name that no file of this kind needs."""
    return UnlistedName(
        f"its pickle asks for {name}, which no {reader} needs; the file was not read any further"
    )


def _computed(what: str) -> UnsupportedCheckpoint:
    return UnsupportedCheckpoint(
        f"its pickle uses {what}, which cannot be known without running it"
    )
