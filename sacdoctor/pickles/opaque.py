"""Objects of classes that nobody here knows, as data: what made them, and what they hold.

A configuration that is a dataclass, a replay buffer of one's own, a member of an enumeration: the
class is a name in the pickle, and nothing of it has to run to see what stands beside and inside
its object. What loading would run is another question, and `sacdoctor.trust` answers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.pickles.values import Made, Name
from sacdoctor.pickles.vocabulary import ListedNames

MAX_LEVELS = 32
"""How deep `walk` looks; training loops nest three or four levels."""

Path = tuple[Any, ...]
"""The keys, names of attributes and positions that lead to a value from the outermost one."""

_RECONSTRUCTORS = {
    Name("copyreg", "_reconstructor"),
    Name("copy_reg", "_reconstructor"),
    Name("copyreg", "__newobj__"),
    Name("copyreg", "__newobj_ex__"),
}
"""What Python's own `__reduce_ex__` has called with the class as its first argument."""


class OpaqueNames(ListedNames):
    """The vocabulary that knows a list of names, and takes every other for a symbol.

    A listed name becomes what `ListedNames` makes of it. Any other is a `Name`, what calling it
    would make a `Made`, and whatever is called with that, or filled into it, stays in there:
    `attributes` and `walk` tell what it holds. A listed function that is given a symbol where it
    needs a value, or a value that is not read here, makes a `Made` as well.
    """

    def name(self, module: str, qualname: str, protocol: int) -> Any:
        return self._names.get((module, qualname), Name(module, qualname))

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, (Name, Made)):
            return Made(function, args, kwargs)
        try:
            return super().call(function, args, kwargs)
        except UnsupportedCheckpoint:
            return Made(function, args, kwargs)
        except CorruptCheckpoint:
            if any(isinstance(arg, (Name, Made)) for arg in args):
                return Made(function, args, kwargs)
            raise


def class_of(made: Made) -> str | None:
    """Return the dotted name of the class, or of the function, that made an object.

    None where it is not told by a name.
    """
    if isinstance(made.function, Name) and made.function in _RECONSTRUCTORS and made.args:
        return dotted(made.args[0])
    return dotted(made.function)


def dotted(thing: Any) -> str | None:
    """Return the dotted name of a class that a pickle refers to, or holds whole.

    A class from `__main__` or a notebook is pickled whole by cloudpickle; then the name comes from
    the arguments that it would be rebuilt with. None for what is no class.
    """
    while isinstance(thing, Made) and thing.args:
        if isinstance(thing.function, Name) and thing.function.qualname == "_make_skeleton_class":
            name = thing.args[1] if len(thing.args) > 1 else None
            members = thing.args[3] if len(thing.args) > 3 else None
            module = members.get("__module__") if isinstance(members, dict) else None
            if isinstance(name, str):
                return f"{module}.{name}" if isinstance(module, str) else name
        # `_class_setstate(skeleton, state)` and its like: the class is the first argument.
        thing = thing.args[0]
    return str(thing) if isinstance(thing, Name) else None


def attributes(made: Made) -> dict[str, Any]:
    """Return the attributes that an object's state gives it, in their order; later ones win.

    A state is a dict, or a pair of one and of the values of `__slots__` (`object.__reduce_ex__`).
    What a class's own `__setstate__` would make of any other is not known, and left out.
    """
    found: dict[str, Any] = {}
    for state in made.states:
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if isinstance(part, Mapping):
                found.update((key, value) for key, value in part.items() if isinstance(key, str))
    return found


def contents(thing: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what a container or an object holds, each with its key, name or position.

    Of an object: its attributes, then its items as a dict and as a list, then what it was made
    from, the arguments by position.
    """
    if isinstance(thing, dict):
        yield from thing.items()
    elif isinstance(thing, (list, tuple)):
        yield from enumerate(thing)
    elif isinstance(thing, Made):
        yield from attributes(thing).items()
        yield from thing.pairs
        yield from enumerate(thing.items)
        yield from enumerate(thing.args)
        yield from thing.kwargs.items()


def walk(
    outermost: Any, enters: Callable[[Any], bool] = lambda container: True
) -> Iterator[tuple[Path, Any]]:
    """Yield every value in `outermost`, with its path; a container before what stands in it.

    Depth first, in the order of the pickle, but that of a container the plain values come first.
    One that stands in several places comes once, at the path that is found first. One that
    `enters` says no to is not looked into, nor is any below `MAX_LEVELS`.
    """
    seen = {id(outermost)}
    waiting: list[tuple[Path, Any]] = [((), outermost)]
    while waiting:
        path, container = waiting.pop()
        yield path, container
        if len(path) == MAX_LEVELS or not enters(container):
            continue
        inner: list[tuple[Path, Any]] = []
        for key, value in contents(container):
            if not isinstance(value, (dict, list, tuple, Made)):
                yield (*path, key), value
            elif id(value) not in seen:
                seen.add(id(value))
                inner.append(((*path, key), value))
        waiting += reversed(inner)
