"""What loading a pickle would import, call and change, found by walking it with nothing executed.

The walk follows what a pickle can do to a name before it uses it: attribute paths by `getattr`,
partial calls, imports, pickles inside pickles, code objects that cloudpickle put in. A name that is
given to a call, or becomes part of an object, may be called from there: much that only makes values
calls what it is given. What cannot be followed is a reference of its own: unknown is never taken
for harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sacdoctor.archive import Archive
from sacdoctor.checkpoint import Limits
from sacdoctor.errors import CheckpointError
from sacdoctor.pickles import ENCODE, Machine, Made, Name, encode
from sacdoctor.trust.allowed_names import ALLOWED_IMPORTS, is_allowed

MAX_NAME = 500
"""Characters of a name that `getattr` puts together; real ones have under 100."""
LEGACY_PICKLES = 5
"""Pickles in a row in a torch file before PyTorch 1.6: magic number, protocol, system, the object,
keys of its storages. Source: torch/serialization.py, `_legacy_save`."""
_REFERENCE = 4096
"""Bytes that a reference takes, and all that is made of it until it stands in a report. Real files
have a few."""


class Kind(StrEnum):
    """What a pickle does with what it refers to."""

    NAME = "refers to"
    CALL = "calls"
    MAKE = "makes an object of"
    GIVE = "gives to a call"
    IMPORT = "imports"
    CODE = "holds code"
    COMPUTED = "computes what it calls"
    STATE = "changes"
    UNREAD = "cannot be read"


@dataclass(frozen=True, slots=True)
class Reference:
    """One thing outside the allow list that a pickle refers to.

    `name` is the thing, or words for it where it has no name; of code it is the file and function
    that it came from, and `uses` the names that it uses.
    """

    kind: Kind
    name: Name
    uses: tuple[str, ...] = ()

    @property
    def names_a_class(self) -> bool:
        """Whether the name is written as classes are (PEP 8), which proves nothing."""
        return self.name.qualname.rpartition(".")[2].lstrip("_")[:1].isupper()


def references(data: memoryview, limits: Limits | None = None) -> tuple[Reference, ...]:
    """Return what the pickle in `data` refers to outside the allow list, in its order.

    `limits` are those of the file that it stands in; without them it is taken for a file.
    """
    recorder = _Recorder(limits or Limits.of(len(data)))
    recorder.walk(data)
    recorder.look_into_what_was_given()
    return tuple(recorder.found)


def torch_references(data: memoryview, limits: Limits | None = None) -> tuple[Reference, ...]:
    """The same for a file that `torch.save` wrote, in either of its formats."""
    recorder = _Recorder(limits or Limits.of(len(data)))
    recorder.walk_torch(data)
    recorder.look_into_what_was_given()
    return tuple(recorder.found)


class _Recorder:
    """The vocabulary that keeps what is outside the allow list.

    It goes on where a name is computed, and tells `new` from a call.
    """

    def __init__(self, limits: Limits) -> None:
        self.found: dict[Reference, None] = {}
        self._limits = limits
        self._given: list[Any] = []

    # -- where pickles stand -------------------------------------------------------------------

    def walk(self, data: memoryview, pickles: int = 1) -> None:
        """Walk so many pickles in a row. What was met before damage counts: Python runs it too."""
        at = 0
        try:
            for _ in range(pickles):
                machine = Machine(data, self, self._limits.walks, at)
                machine.run()
                at = machine.at
        except CheckpointError as error:
            self.unread(error.reason)

    def walk_torch(self, data: memoryview) -> None:
        """Walk every pickle in a torch file."""
        if bytes(data[:2]) != b"PK":
            # Whatever it is, torch reads it as pickles in a row.
            self.walk(data, LEGACY_PICKLES)
            return
        try:
            archive = Archive(data, position=None, budget=self._limits.expansion)
            for name in archive:
                if name.lower().endswith(".pkl"):  # torch's own reader asks for no case
                    self.walk(archive.read(name))
        except CheckpointError as error:
            self.unread(error.reason)

    def _nested(self, data: Any, walk: Callable[[memoryview], None]) -> None:
        data = _encoded(data)
        if isinstance(data, (bytes, memoryview)):
            # It may be checked, copied and walked as often as it is named.
            self._limits.walks.hold(len(data))
            walk(memoryview(data))
        else:
            self.computed("a pickle that it puts together itself")

    # -- what is kept --------------------------------------------------------------------------

    def _keep(self, kind: Kind, name: Name, uses: tuple[str, ...] = ()) -> None:
        reference = Reference(kind, name, uses)
        if reference not in self.found:
            self._limits.walks.hold(_REFERENCE + len(name.module) + len(name.qualname))
            self.found[reference] = None

    def computed(self, words: str) -> Made:
        self._keep(Kind.COMPUTED, Name("", words))
        return Made(None, ())

    def unread(self, reason: str) -> None:
        self.found.setdefault(Reference(Kind.UNREAD, Name("", reason)))

    def _made(self, function: Any, args: tuple[Any, ...], kwargs: Any = None) -> Made:
        """Return what a call makes, and remember what it is given, now and later."""
        made = Made(function, args)
        self._given += filter(None, (args, kwargs))
        self._given += (made.items, made.pairs)  # still empty
        return made

    def look_into_what_was_given(self) -> None:
        """Keep each name outside the allow list that a call was given, at whatever depth.

        To be called when all is walked: a list may be filled after it was given. Names that are
        followed where they are called, such as `getattr`, cannot be followed from here.
        """
        try:
            self._look()
        except CheckpointError as error:  # there are more than the budget allows
            self.unread(error.reason)

    def _look(self) -> None:
        seen: set[int] = set()
        for thing in self._given:
            if isinstance(thing, Name):
                if Reference(Kind.NAME, thing) in self.found:
                    self._keep(Kind.GIVE, thing)
                elif (thing.module, thing.qualname) in _SPECIAL:
                    self.computed(f"{thing}, which it gives to another call")
            elif thing and isinstance(thing, (tuple, list, dict)) and id(thing) not in seen:
                seen.add(id(thing))
                self._given += thing.values() if isinstance(thing, dict) else thing

    # -- the vocabulary ------------------------------------------------------------------------

    def name(self, module: str, qualname: str, protocol: int = 5) -> Name:
        if not is_allowed(module, qualname):
            if protocol < 3:
                module, qualname = _python_3(module, qualname)
            self._keep(Kind.NAME, Name(module, qualname))
        return Name(module, qualname)

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: Any = None) -> Made:
        """`cls.__new__(cls, *args)`; the object's own methods may be called to fill it."""
        if isinstance(cls, Name):
            if not is_allowed(cls.module, cls.qualname):
                self._keep(Kind.MAKE, cls)
        elif not (isinstance(cls, Made) and cls.function in _CLASS_MAKERS):
            self.computed("a class that another call returned")
        return self._made(cls, args, kwargs)

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, Name):
            special = _SPECIAL.get((function.module, function.qualname))
            if special is not None:
                return special(self, args)
            if not is_allowed(function.module, function.qualname):
                self._keep(Kind.CALL, function)
            if function in _TYPE and len(args) != 1:
                # `type(None)` is one that pickle writes; cloudpickle makes classes otherwise.
                return self.computed("a class that it puts together itself")
        elif isinstance(function, Made):
            return self._call_made(function, args, kwargs)
        return self._made(function, args, kwargs)

    def _call_made(self, function: Made, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call what a call has made."""
        maker = function.function
        if maker in _PARTIAL and function.args:
            return self.call(function.args[0], function.args[1:] + args, kwargs)
        if maker in _ATTRIBUTE_GETTERS:
            for path in function.args:
                self._attribute((*args[:1], path))
        elif maker in _CODE_MAKERS:
            self.computed("a function whose code it holds")
        elif maker not in _CLASS_MAKERS:
            self.computed("something that another call returned")
        return self._made(function, args, kwargs)

    def build(self, thing: Any, state: Any) -> None:
        if isinstance(thing, Name):
            self._keep(Kind.STATE, thing)
        self._given.append(state)
        if isinstance(thing, Made) and thing.function in _PARTIAL:
            if isinstance(state, tuple) and len(state) > 1 and isinstance(state[1], tuple):
                thing.args = (state[0], *state[1])
            else:
                self.computed("a partial call that it puts together itself")
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict) and not _REACHING.isdisjoint(part):
                owner = thing.function if isinstance(thing, Made) else thing
                self._keep(Kind.STATE, owner if isinstance(owner, Name) else Name("", "an object"))

    def persistent(self, identity: Any) -> Made:
        return self._made(None, (identity,))

    # -- functions that lead to other names ----------------------------------------------------

    def _attribute(self, args: tuple[Any, ...]) -> Any:
        """`getattr(thing, path)`: the name of what it returns is judged in its place."""
        if len(args) != 2 or not isinstance(args[1], str):
            return self.computed("an attribute whose name it puts together itself")
        thing, path = args
        while isinstance(thing, Made):
            thing = thing.function
        if not isinstance(thing, Name):
            return self.computed(f"the attribute {path[:MAX_NAME]!r} of something it made")
        qualname = f"{thing.qualname}.{path}" if thing.qualname else path
        if len(qualname) > MAX_NAME:
            return self.computed("an attribute at the end of a path without end")
        if path.isidentifier() and not path.startswith("_") and (thing in _ENUMS):
            return Made(thing, (path,))  # how Python 3.11 writes an enum's member
        return self.name(thing.module, qualname)

    def _new_of(self, args: tuple[Any, ...]) -> Made:
        return self.new(args[0] if args else None, args[1:])

    def _module(self, args: tuple[Any, ...]) -> Any:
        if not args or not isinstance(args[0], str):
            return self.computed("a module whose name it puts together itself")
        if args[0] not in ALLOWED_IMPORTS:
            self._keep(Kind.IMPORT, Name(args[0], ""))
        return Name(args[0], "")

    def _import(self, args: tuple[Any, ...]) -> Any:
        """`__import__("a.b")` returns `a`, unless it is told what to take from `a.b`."""
        module = self._module(args)
        if isinstance(module, Name) and len(args) < 4:
            return Name(module.module.partition(".")[0], "")
        return module

    def _builtin_type(self, args: tuple[Any, ...]) -> Any:
        return self._attribute((Name("types", ""), *args))

    def _code(self, args: tuple[Any, ...]) -> Made:
        """`types.CodeType`: the numbers at its start are five before Python 3.8, then six.

        Behind them: code, constants, names, variables, file, name, …
        """
        at = 6 if len(args) > 5 and isinstance(args[5], int) else 5
        code, _, names, _, file, name = (*args[at : at + 6], *[None] * 6)[:6]
        is_plain = isinstance(_encoded(code), (bytes, memoryview)) and isinstance(names, tuple)
        if not is_plain or not all(isinstance(used, str) for used in names):
            return self.computed("code that it puts together itself")
        known = Name(file if isinstance(file, str) else "", name if isinstance(name, str) else "?")
        self._keep(Kind.CODE, known, names)
        return self._made(Name("types", "CodeType"), args)

    def _loads(self, args: tuple[Any, ...]) -> Made:
        self._nested(args[0] if args else None, self.walk)
        return Made(None, ())

    def _load_from_bytes(self, args: tuple[Any, ...]) -> Made:
        self._nested(args[0] if args else None, self.walk_torch)
        return Made(None, ())


def _python_3(module: str, qualname: str) -> tuple[str, str]:
    """Return what a name of Python 2 stands for: `pickle` puts it in its place below protocol 3."""
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    if (module, qualname) in NAME_MAPPING:
        return NAME_MAPPING[module, qualname]
    return IMPORT_MAPPING.get(module, module), qualname


def _encoded(data: Any) -> Any:
    """Return bytes that protocol 2 writes as a call of `_codecs.encode` on a text."""
    if isinstance(data, Made) and data.function == Name(*ENCODE):
        with suppress(CheckpointError, TypeError):
            return encode(*data.args)
    return data


def _names(modules: str, qualnames: str) -> Iterator[Name]:
    return (Name(m, q) for m in modules.split() for q in qualnames.split())


_CLOUDPICKLE = "cloudpickle.cloudpickle cloudpickle.cloudpickle_fast"
_LOADERS = [
    *_names("pickle _pickle cPickle cloudpickle dill", "loads"),
    *_names(_CLOUDPICKLE, "loads"),
]
_PARTIAL = {Name("functools", "partial")}
_ATTRIBUTE_GETTERS = {*_names("operator _operator", "attrgetter methodcaller")}
_CODE_MAKERS = {
    *_names(_CLOUDPICKLE, "_make_function _make_skel_func"),
    *_names("types", "FunctionType LambdaType CodeType"),
}
_CLASS_MAKERS = {
    *_names(_CLOUDPICKLE, "_make_skeleton_class _make_skeleton_enum _rehydrate_skeleton_class")
}
_TYPE = {*_names("builtins __builtin__", "type")}
_ENUMS = {
    Name("stable_baselines3.common.type_aliases", "TrainFrequencyUnit"),
    Name("stable_baselines3.her.goal_selection_strategy", "GoalSelectionStrategy"),
}
_REACHING = frozenset(("__builtins__", "__globals__", "__code__", "__class__", "__dict__"))
"""Keys of a state through which an object reaches what is not its own."""
_SPECIAL: dict[tuple[str, str], Callable[[_Recorder, tuple[Any, ...]], Any]] = {
    ("builtins", "getattr"): _Recorder._attribute,
    ("__builtin__", "getattr"): _Recorder._attribute,
    ("builtins", "__import__"): _Recorder._import,
    ("__builtin__", "__import__"): _Recorder._import,
    ("importlib", "import_module"): _Recorder._module,
    ("copyreg", "__newobj__"): _Recorder._new_of,
    ("copyreg", "_reconstructor"): _Recorder._new_of,
    ("copy_reg", "__newobj__"): _Recorder._new_of,
    ("copy_reg", "_reconstructor"): _Recorder._new_of,
    ("types", "CodeType"): _Recorder._code,
    ("torch.storage", "_load_from_bytes"): _Recorder._load_from_bytes,
    **{(n.module, n.qualname): _Recorder._module for n in _names(_CLOUDPICKLE, "subimport")},
    **{
        (n.module, n.qualname): _Recorder._builtin_type
        for n in _names(_CLOUDPICKLE, "_builtin_type")
    },
    **{(n.module, n.qualname): _Recorder._loads for n in _LOADERS},
}
