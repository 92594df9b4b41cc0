"""What loading a pickle would import, call and change beyond what SB3 and its libraries write.

The walk proves: every opcode, name, call, argument and state has to be of a form in which SB3,
sb3-contrib, gymnasium, gym, numpy, torch and cloudpickle write (`known_names`, `forms`). Values are
followed as Python follows them; what was given away is not changed any more (`things`). Whatever
else there is, is named. What an unknown name leads to is followed as far as it can be, so that the
name which is reached is told: attribute paths by `getattr`, partial calls, imports, pickles inside
pickles. Nothing is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sacdoctor.archive import Archive
from sacdoctor.checkpoint import Limits
from sacdoctor.errors import CheckpointError, CorruptCheckpoint
from sacdoctor.files import fetched
from sacdoctor.pickles import Machine, Made, Name, as_key
from sacdoctor.trust.called_by_sb3 import fits
from sacdoctor.trust.forms import (
    FORMS,
    NOT_PROVEN,
    STATES,
    deepened,
    is_name,
    is_named_code,
    is_thing,
    member,
    new,
    storage,
)
from sacdoctor.trust.known_names import role_of
from sacdoctor.trust.things import (
    CLASSES,
    DATA,
    SEALED,
    FrozenItems,
    Key,
    OpenDict,
    OpenList,
    OpenSet,
    Role,
    SharedGlobals,
    Thing,
    seal,
)

if TYPE_CHECKING:
    from sacdoctor.trust.bytecode import Code

MAX_NAME = 500
"""Characters of a name that `getattr` puts together; real ones have under 100."""
LEGACY_PICKLES = 5
"""Pickles in a row in a torch file before PyTorch 1.6: magic number, protocol, system, the object,
keys of its storages. Source: torch/serialization.py, `_legacy_save`."""
MAX_PICKLES = 64
"""Pickles in a row that are followed where one is expected."""
_REFERENCE = 4096
"""Bytes that a reference takes, and all that is made of it until it stands in a report. Real files
have a few."""
MAX_HASHED_DEPTH = 8
"""Tuples in tuples in a key of a dict or an item of a set. Python works their hash out one inside
the other, and its stack ends after some ten thousands."""
_LOOKS = 4096
"""Items that are looked at before they are counted."""
_LOOK = 8
"""Bytes that a look at an item of a tuple is priced at: one can be given again and again."""


class Kind(StrEnum):
    """What a pickle does with what it refers to."""

    NAME = "refers to"
    CALL = "calls"
    MAKE = "makes an object of"
    GIVE = "gives to a call"
    IMPORT = "imports"
    CLASS = "holds the class"
    CODE = "holds code"
    FORM = "does not do as any library does"
    COMPUTED = "computes what it calls"
    STATE = "changes"
    UNREAD = "cannot be read"


class Reference(Struct, frozen=True):
    """One thing in a pickle that is not proven harmless, or code that is.

    `name` is the thing, or words for it where it has no name; of code it is the file and function
    that it came from, `uses` the names that it uses, `reaches` the dangerous ones among the paths
    that it takes, and `only_computes` says that it is proven to.
    """

    kind: Kind
    name: Name
    uses: tuple[str, ...] = ()
    reaches: tuple[str, ...] = ()
    only_computes: bool = False

    @property
    def names_a_class(self) -> bool:
        """Whether the name is written as classes are (PEP 8), which proves nothing."""
        return self.name.qualname.rpartition(".")[2].lstrip("_")[:1].isupper()


def references(
    data: memoryview, limits: Limits | None = None, place: str = ""
) -> tuple[Reference, ...]:
    """Return what is not proven harmless of the pickle in `data`, in its order.

    `limits` are those of the file that it stands in; without them it is taken for a file. `place`
    is its key in SB3's settings, which says what SB3 takes it for; empty for any other.
    """
    walk = _Walk(limits or Limits.of(len(data)))
    walk.only(data, place)
    return tuple(walk.found)


def torch_references(data: memoryview, limits: Limits | None = None) -> tuple[Reference, ...]:
    """The same for a file that `torch.save` wrote, in either of its formats."""
    walk = _Walk(limits or Limits.of(len(data)))
    walk.torch(data)
    return tuple(walk.found)


def references_by_chance(data: memoryview, limits: Limits) -> tuple[Reference, ...]:
    """The same for a file of another kind, which whoever loads pickles may take for one.

    `pickle.load` and `torch.load` do not ask what a file is. Only bytes that were made for it look
    up a name there; of any others nothing is told, they make no pickle.
    """
    walk = _Walk(limits)
    walk.torch(data)
    if reads_as_tar(data):
        return tuple(walk.found)
    found = (one for one in walk.found if one.kind is not Kind.UNREAD)
    return tuple(found) if walk.looks_up else ()


class _Prover(Machine):
    """The machine whose containers say whether somebody else holds them."""

    def _append(self, target: Any, items: list[Any]) -> None:
        self.vocabulary.append(target, items)  # type: ignore[attr-defined]

    def _set_items(self, target: Any, pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise CorruptCheckpoint("its pickle sets a key without a value")
        self.budget.hold(24 * len(pairs))
        self.vocabulary.set_items(target, pairs)  # type: ignore[attr-defined]

    def _call(self, how: Callable[..., Any], function: Any, args: Any, kwargs: Any = None) -> None:
        if type(args) is not tuple:
            self.vocabulary.unusual("calls with what is no tuple")  # type: ignore[attr-defined]
        super()._call(how, function, args, kwargs)

    def add_to_set(self) -> None:
        items = self._group()
        target = self._top()
        if type(target) is OpenSet:
            self.vocabulary.hashes(items)  # type: ignore[attr-defined]
            target.extend(items)
        elif isinstance(target, Made):
            self.vocabulary.append(target, items)  # type: ignore[attr-defined]
        else:
            self.vocabulary.changed(target, items)  # type: ignore[attr-defined]


class _Walk:
    """The vocabulary that proves, and keeps what is not proven.

    `Made` is what an unknown call has made: it is named already, and may stand anywhere.
    `looks_up`: there was a name that Python could have.
    """

    def __init__(self, limits: Limits) -> None:
        self.found: dict[Reference, None] = {}
        self.looks_up = False
        self._limits = limits
        self._is_torch = False
        self._result: Any = None
        self._seen: dict[int, Any] = {}
        self._opened: dict[int, Any] = {}
        self._spoilt: dict[int, Any] = {}
        """What was given away although it is no data: it is none at the next look either."""

    # -- where pickles stand -------------------------------------------------------------------

    def only(self, data: memoryview, place: str = "") -> None:
        """Walk a pickle that should stand alone, and any that stand behind it."""
        at = self.walk(data, place=place)
        for _ in range(MAX_PICKLES):
            if at is None or at >= len(data):
                return
            self.unusual("more stands behind its pickle")
            at = self.walk(data, at)

    def walk(self, data: memoryview, at: int = 0, place: str = "") -> int | None:
        """Walk one pickle and return its end. What was met before damage counts: it runs too."""
        try:
            machine = _Prover(data, self, self._limits.walks, at)
            result = machine.run()
        except CheckpointError as error:
            if not at or self._is_torch:
                self.unread(error.reason)  # what stands behind the first need be no pickle
            return None
        if machine.rare:
            words = ", ".join(sorted(machine.rare))
            self.unusual(f"uses the opcode {words}, which Python 3 does not")
        if not fits(self, result, place):
            self.unusual(f"{self._words(result)} stands where SB3 keeps none")
        self._result = result
        return machine.at

    def torch(self, data: memoryview) -> Any:
        """Walk every pickle in a torch file; return what the one with the object describes."""
        outer, self._is_torch = self._is_torch, True
        try:
            return self._torch(data)
        except CheckpointError as error:
            self.unread(error.reason)
            return None
        finally:
            self._is_torch = outer

    def _torch(self, data: memoryview) -> Any:
        if bytes(data[:2]) != b"PK":
            # Whatever it is, torch reads it as pickles in a row.
            return self._in_a_row(data)
        result = None
        archive = Archive(data, position=None, budget=self._limits.expansion)
        if sum(name.lower().endswith(".pkl") for name in archive) > 1:
            self.unusual("is a torch file with more than one pickle")
        for name in archive:
            if name.lower().endswith("constants.pkl"):
                self.unusual("is TorchScript, which brings code of its own")
            if name.lower().endswith(".pkl"):  # torch's own reader asks for no case
                self.only(archive.read(name))
                if name.lower().endswith("data.pkl"):
                    result = self._result
        return result

    def _in_a_row(self, data: memoryview) -> Any:
        if reads_as_tar(data):
            self.unread("torch reads it as a tar archive, too")
        at: int | None = 0
        result = None
        for number in range(LEGACY_PICKLES):
            at = self.walk(data, at or 0)
            if at is None:
                return None
            if number == LEGACY_PICKLES - 2:
                result = self._result
        return result

    def _nested(self, data: Any, walk: Callable[[memoryview], Any]) -> Any:
        if not isinstance(data, (bytes, memoryview)):
            return self.computed("a pickle that it puts together itself")
        if id(data) in self._opened:
            # Pickles that open one another again and again would be walked without end.
            self.unusual("opens the same pickle twice")
            return Made(None, ())
        self._opened[id(data)] = data
        self._limits.walks.hold(len(data))
        result = walk(fetched(memoryview(data)))
        return Made(None, ()) if result is None or not self.holds_data(result) else result

    # -- what is kept --------------------------------------------------------------------------

    def _keep(self, kind: Kind, name: Name, **more: Any) -> None:
        reference = Reference(kind, name, **more)
        if reference not in self.found:
            self._limits.walks.hold(_REFERENCE + len(name.module) + len(name.qualname))
            self.found[reference] = None

    def computed(self, words: str) -> Made:
        self._keep(Kind.COMPUTED, Name("", words))
        return Made(None, ())

    def unread(self, reason: str) -> None:
        self.found.setdefault(Reference(Kind.UNREAD, Name("", reason)))

    def unusual(self, words: str) -> None:
        """Keep, in words, that a pickle does something that no library writes."""
        self._keep(Kind.FORM, Name("", words))

    def _words(self, thing: Any) -> str:
        """Return the name of a thing, or words for it."""
        name = thing.name if isinstance(thing, Thing) else thing
        if isinstance(name, Name):
            return ".".join(filter(None, (name.module, name.qualname)))
        return _KINDS.get(type(thing), "a value")

    # -- what may lie about --------------------------------------------------------------------

    def holds_data(self, value: Any) -> bool:
        """Return whether a value does nothing by itself, at any depth.

        What it holds is sealed. Unknown names in it are kept as given: who gets them may call them.
        """
        return self._look(value, seals=True)

    def is_data(self, value: Any) -> bool:
        """The same of what nobody takes: it is what the pickle describes in the end."""
        return self._look(value, seals=False)

    def _look(self, value: Any, seals: bool) -> bool:
        is_data, waiting = True, [value]
        seen: dict[int, Any] = {}
        looked = 0
        while waiting:
            item = waiting.pop()
            kind = type(item)
            if kind in _PLAIN:
                continue
            if kind in _CONTAINERS:
                if kind in _SEALED or id(item) in self._seen or id(item) in seen:
                    is_data &= id(item) not in self._spoilt
                    continue
                seen[id(item)] = item
                looked += len(item) if isinstance(item, tuple) else 0
                waiting += item.values() if kind in _DICTS else item
                if kind in _DICTS:
                    waiting += (key for key in item if type(key) not in _PLAIN)
                if kind is SharedGlobals:
                    is_data = False
                if seals and kind in SEALED:
                    seal(item)
                elif seals and len(item) > 8:
                    self._seen[id(item)] = item
            elif kind is Thing:
                if item.is_sealed:
                    is_data &= id(item) not in self._spoilt
                elif seals and item.detail is not None:
                    seen[id(item)] = item
                is_data &= self._look_at_thing(item, waiting, seals)
            elif kind is Key:
                waiting.append(item.value)
            elif kind is Name:
                is_data &= self._look_at_name(item, seals)
            elif kind is not Made:
                is_data = False
        self._limits.walks.hold(_LOOK * looked)
        if seals and not is_data:
            self._spoilt |= seen
        return is_data

    def can_hash(self, items: Iterable[Any]) -> bool:
        """Return whether no tuple among the items nests deeper than Python's stack reaches."""
        waiting, looked = [(item, MAX_HASHED_DEPTH) for item in items if type(item) is tuple], 0
        while waiting:
            item, levels = waiting.pop()
            if not levels:
                return False
            looked += len(item)
            if looked > _LOOKS:
                self._limits.walks.hold(_LOOK * looked)
                looked = 0
            waiting += [(inner, levels - 1) for inner in item if type(inner) is tuple]
        self._limits.walks.hold(_LOOK * looked)
        return True

    def _look_at_thing(self, thing: Thing, waiting: list[Any], seals: bool) -> bool:
        if thing.role in (Role.ORDERED, Role.DEQUE) and thing.detail and not thing.is_sealed:
            waiting.append(thing.detail)
        if seals:
            thing.is_sealed = True
        if thing.role is Role.CODE_FUNCTION:
            return not thing.detail.needs  # it only computes, or is named
        return thing.role in DATA

    def _look_at_name(self, name: Name, seals: bool) -> bool:
        role = role_of(name.module, name.qualname)
        if role is None:
            if seals:
                self._keep(Kind.GIVE, name)
            return True
        return role in CLASSES or is_name(name, "types", "NoneType")

    # -- the vocabulary ------------------------------------------------------------------------

    def name(self, module: str, qualname: str, protocol: int = 5) -> Name:
        role = role_of(module, qualname)
        self.looks_up = self.looks_up or role is not None or _is_possible(module, qualname)
        if role is None:
            if protocol < 3:
                module, qualname = _python_3(module, qualname)
                role = role_of(module, qualname)
            if role is None:
                self._keep(Kind.NAME, Name(module, qualname))
        return Name(*(_python_3(module, qualname) if module in _RENAMED else (module, qualname)))

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: Any = None) -> Any:
        """`cls.__new__(cls, *args)`; the object's own methods may be called to fill it."""
        made = NOT_PROVEN if kwargs else new(self, cls, args)
        if made is not NOT_PROVEN:
            return made
        self.holds_data((args, kwargs))
        if isinstance(cls, Name):
            if role_of(cls.module, cls.qualname) is None:
                self._keep(Kind.MAKE, cls)
            else:
                self._keep(Kind.FORM, cls)
        elif not (isinstance(cls, Made) and cls.function in _CLASS_MAKERS):
            self.computed("a class that another call returned")
        return Made(cls, args)

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, Name):
            return self._call_name(function, args)
        self.holds_data((args, kwargs))
        if isinstance(function, Made):
            return self._call_made(function, args)
        if is_thing(function, Role.CODE_FUNCTION):
            return self.computed("a function whose code it holds")
        return self.computed("something that another call returned")

    def _call_name(self, function: Name, args: tuple[Any, ...]) -> Any:
        key = function.module, function.qualname
        role = role_of(*key)
        if role is Role.ENUM:
            made = member(function, args[0], by_name=False) if len(args) == 1 else NOT_PROVEN
        else:
            form = FORMS.get(key)
            made = form(self, args) if form is not None else NOT_PROVEN
        if made is not NOT_PROVEN:
            return made
        follow = _FOLLOWED.get(key)
        if follow is not None:
            return follow(self, args)
        if role is Role.MAKER:
            return self._class(function, args)
        if self.holds_data(args) and key in _PARTS:
            return Thing(Role.METHOD, function)
        for arg in args:
            if isinstance(arg, Name) and role_of(arg.module, arg.qualname) is Role.FOLLOWED:
                self.computed(f"{arg}, which it gives to another call")
        self._keep(Kind.CALL if role is None else Kind.FORM, function)
        return Made(function, args)

    def _call_made(self, function: Made, args: tuple[Any, ...]) -> Any:
        """Call what an unknown call has made."""
        maker = function.function
        if maker == _PARTIAL and function.args:
            return self.call(function.args[0], function.args[1:] + args, {})
        if maker in _ATTRIBUTE_GETTERS:
            for path in function.args:
                self._attribute((*args[:1], path))
        elif maker not in _CLASS_MAKERS:
            self.computed("something that another call returned")
        return Made(function, args)

    def _class(self, maker: Name, args: tuple[Any, ...]) -> Any:
        """A class that cloudpickle keeps whole, or its attributes, which may be anything."""
        if maker.qualname in ("_class_setstate", "_rehydrate_skeleton_class"):
            cls = args[0] if args else None
            if isinstance(cls, Name):
                self._keep(Kind.STATE, cls)
            elif not (isinstance(cls, Made) and cls.function in _CLASS_MAKERS):
                self.changed(cls, [])
            return cls
        is_enum = maker.qualname == "_make_skeleton_enum"
        name = args[1] if len(args) > 1 else None
        self._keep(Kind.CLASS, Name("", name if isinstance(name, str) else "?"))
        if not is_enum and args and not _is_metaclass(args[0]):
            self._look(args[0], seals=True)
            self.computed("a class of a class that it puts together itself")
        return Made(maker, args)

    def build(self, thing: Any, state: Any) -> None:
        if isinstance(thing, Thing):
            self._fill(thing, state)
            return
        if isinstance(thing, Name):
            self._keep(Kind.STATE, thing)
        elif not isinstance(thing, Made):
            self.unusual("gives a state to a plain value")
        self.holds_data(state)
        if not isinstance(thing, Made):
            return
        if thing.function == _PARTIAL:
            if isinstance(state, tuple) and len(state) > 1 and isinstance(state[1], tuple):
                thing.args = (state[0], *state[1])
            else:
                self.computed("a partial call that it puts together itself")
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict) and not _REACHING.isdisjoint(part):
                owner = thing.function
                self._keep(Kind.STATE, owner if isinstance(owner, Name) else Name("", "an object"))

    def _fill(self, thing: Thing, state: Any) -> None:
        """Give a thing its state: once, in its form, before anybody else holds it."""
        if thing.role is Role.ENUM:
            self._keep(Kind.STATE, thing.name)
        takes = STATES.get(thing.role)
        is_new = not thing.is_sealed and not thing.has_state
        thing.has_state = True
        if takes is None or not is_new or not takes(self, thing, state):
            self.changed(thing, [state])

    def changed(self, target: Any, items: list[Any]) -> None:
        """Note a change that no library makes, and what it brings along."""
        self.holds_data(items)
        if is_thing(target, Role.SPOILT):
            return
        self.unusual(f"changes {self._words(target)} after it was read")
        if isinstance(target, Thing):
            target.role = Role.SPOILT

    def frozen(self, items: list[Any]) -> FrozenItems:
        self.hashes(items)
        return FrozenItems(items)

    def hashes(self, items: list[Any]) -> None:
        """Note items of a set."""
        if not self.can_hash(items):
            self.unusual("makes an item of a set itself")

    def append(self, target: Any, items: list[Any]) -> None:
        kind = type(target)
        if kind is OpenList:
            target.extend(items)
        elif kind is Made:
            self.holds_data(items)
        elif is_thing(target, Role.DEQUE) and not target.is_sealed:
            if target.detail is None:
                target.detail = OpenList()
            self._nest(target, items)
            target.detail.extend(items)
        elif isinstance(target, (list, Thing)):
            self.changed(target, items)
        else:
            raise CorruptCheckpoint("its pickle appends to something that is no list")

    def set_items(self, target: Any, pairs: list[Any]) -> None:
        kind = type(target)
        if kind is OpenDict:
            into = target
        elif is_thing(target, Role.ORDERED) and not target.is_sealed:
            into = target.detail
            if target.name.qualname == "defaultdict":
                self._nest(target, pairs)
        elif kind is Made:
            self.holds_data(pairs)
            return
        elif isinstance(target, (dict, list, Thing)):
            self.changed(target, pairs)
            return
        else:
            raise CorruptCheckpoint("its pickle sets items of something that has none")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if as_key(key) is key:
                into[key] = value
                continue
            if type(key) not in _HASHED or not self.can_hash([key]):
                self.unusual("makes a key of a dict itself")
                self.holds_data([key])
            into[Key(key)] = value

    def _nest(self, target: Thing, items: list[Any]) -> None:
        """Note what a thing is filled with that is freed inside of it, and is full by now."""
        for item in items:
            if is_thing(item, Role.ORDERED, Role.DEQUE) and item is not target:
                self.holds_data(item)
        if not deepened(target, items):
            self.unusual("nests deeper than any pickler does")

    def persistent(self, identity: Any) -> Any:
        made = storage(identity) if self._is_torch else NOT_PROVEN
        if made is not NOT_PROVEN:
            return made
        self.holds_data(identity)
        self.unusual("refers to something outside of its pickle")
        return Made(None, (identity,))

    # -- code ----------------------------------------------------------------------------------

    def of_code(self, code: Code) -> Thing:
        self._limits.walks.hold(64 * len(code.code))
        # An instruction, of two bytes, takes as long to follow as four opcodes of a pickle.
        self._limits.walks.take(2 * len(code.code))
        words = tuple(dict.fromkeys(code.names))
        reaches = () if code.needs is not None else code.reaches()
        self._keep(
            Kind.CODE,
            Name(code.file, code.name),
            uses=words,
            reaches=reaches,
            only_computes=code.needs is not None,
        )
        self.holds_data(code.constants)
        return Thing(Role.CODE, Name(code.file, code.name), code)

    def has_globals(self, code: Code, own: Any) -> None:
        if code.needs is not None or not isinstance(own, Mapping):
            return
        self.holds_data(tuple(own.values()))
        modules = {
            key: value.function.module
            for key, value in own.items()
            if type(value) is Made and isinstance(value.function, Name) and not value.args
        }
        reaches = code.reaches(modules) if modules else ()
        if reaches:
            name, words = Name(code.file, code.name), tuple(dict.fromkeys(code.names))
            self.found.pop(Reference(Kind.CODE, name, words), None)
            self._keep(Kind.CODE, name, uses=words, reaches=reaches)

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
        return self.name(thing.module, qualname)

    def _new_of(self, args: tuple[Any, ...]) -> Any:
        """`copyreg.__newobj__(cls, *args)`, or `_reconstructor(cls, base, state)`."""
        return self.new(args[0] if args else None, args[1:])

    def _partial(self, args: tuple[Any, ...]) -> Any:
        function = args[0] if args else None
        if isinstance(function, Name):
            role = role_of(function.module, function.qualname)
            if role is Role.FOLLOWED:
                self.computed(f"{function}, which it gives to another call")
            elif role is not None:
                self._keep(Kind.FORM, function)
        elif not (isinstance(function, Made) or is_named_code(function)):
            self.unusual(f"makes a partial call of {self._words(function)}")
        self.holds_data(args)
        return Made(_PARTIAL, args)

    def _module(self, args: tuple[Any, ...]) -> Any:
        if not args or not isinstance(args[0], str):
            return self.computed("a module whose name it puts together itself")
        self._keep(Kind.IMPORT, Name(args[0], ""))
        return Made(Name(args[0], ""), ())

    def _import(self, args: tuple[Any, ...]) -> Any:
        """`__import__("a.b")` returns `a`, unless it is told what to take from `a.b`."""
        module = self._module(args)
        if isinstance(module.function, Name) and len(args) < 4:
            return Made(Name(module.function.module.partition(".")[0], ""), ())
        return module

    def _type(self, args: tuple[Any, ...]) -> Any:
        # `type(None)` is one that pickle writes; cloudpickle makes classes otherwise.
        self.holds_data(args)
        return self.computed("a class that it puts together itself")

    def _builtin_type(self, args: tuple[Any, ...]) -> Any:
        return self._attribute((Name("types", ""), *args))

    def _loads(self, args: tuple[Any, ...]) -> Any:
        self._nested(args[0] if args else None, self.only)
        return Made(None, ())

    def _load_from_bytes(self, args: tuple[Any, ...]) -> Any:
        return self._nested(args[0] if len(args) == 1 else None, self.torch)


def _is_metaclass(value: Any) -> bool:
    """Whether classes of one's own are usually made by it, or it is named."""
    known = (("builtins", "type"), ("abc", "ABCMeta"))
    return isinstance(value, (Name, Made)) and not (
        isinstance(value, Name)
        and role_of(value.module, value.qualname) is not None
        and not any(is_name(value, *name) for name in known)
    )


def reads_as_tar(data: memoryview) -> bool:
    """Return whether Python's `tarfile` would take the bytes for an archive.

    By the sum over its first header, as `tarfile.TarInfo.frombuf` does: torch asks that first.
    """
    header = bytes(data[:512])
    if len(header) < 512:
        return False
    written = header[148:156].split(b"\0", 1)[0].strip()
    try:
        claimed = int(written or b"0", 8)
    except ValueError:
        return header[148:149] in (b"\x80", b"\xff")
    rest = header[:148] + b" " * 8 + header[156:]
    return claimed in (sum(rest), sum(byte - 256 * (byte > 127) for byte in rest))


def _python_3(module: str, qualname: str) -> tuple[str, str]:
    """Return what a name of Python 2 stands for: `pickle` puts it in its place below protocol 3."""
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    if (module, qualname) in NAME_MAPPING:
        return NAME_MAPPING[module, qualname]
    return IMPORT_MAPPING.get(module, module), qualname


def _is_possible(module: str, qualname: str) -> bool:
    return all(map(str.isidentifier, f"{module}.{qualname}".split(".")))


def _names(modules: str, qualnames: str) -> Iterator[Name]:
    return (Name(m, q) for m in modules.split() for q in qualnames.split())


_CLOUDPICKLE = "cloudpickle.cloudpickle cloudpickle.cloudpickle_fast"
_LOADERS = [
    *_names("pickle _pickle cPickle cloudpickle dill", "loads"),
    *_names(_CLOUDPICKLE, "loads"),
]
_RENAMED = ("__builtin__", "copy_reg")
_PARTIAL = Name("functools", "partial")
_ATTRIBUTE_GETTERS = {*_names("operator _operator", "attrgetter methodcaller")}
_CLASS_MAKERS = {*_names(_CLOUDPICKLE, "_make_skeleton_class _make_skeleton_enum")}
_PARTS = {
    *(("builtins", kind) for kind in ("property", "classmethod", "staticmethod")),
    *((m, "_get_dataclass_field_type_sentinel") for m in _CLOUDPICKLE.split()),
}
"""What cloudpickle calls for the parts of a class; they are nothing outside of one."""
_REACHING = frozenset(("__builtins__", "__globals__", "__code__", "__class__", "__dict__"))
"""Keys of a state through which an object reaches what is not its own."""
_PLAIN = frozenset((type(None), bool, int, float, str, bytes, memoryview))
_HASHED = frozenset((int, memoryview, tuple, FrozenItems, Thing, Name))
"""Keys beside those that are taken as they are: long ones, and what has a hash of its own."""
_DICTS = frozenset((OpenDict, SEALED[OpenDict], SharedGlobals))
_KINDS = {
    kind: words
    for words, kinds in (
        ("a list", (OpenList, SEALED[OpenList])),
        ("a dict", _DICTS),
        ("a set", (OpenSet, SEALED[OpenSet], FrozenItems)),
        ("a tuple", (tuple,)),
    )
    for kind in kinds
}
_SEALED = frozenset(SEALED.values())
_CONTAINERS = _DICTS | {tuple, list, FrozenItems, *SEALED, *SEALED.values()}
_FOLLOWED: dict[tuple[str, str], Callable[[_Walk, tuple[Any, ...]], Any]] = {
    ("builtins", "getattr"): _Walk._attribute,
    ("builtins", "__import__"): _Walk._import,
    ("builtins", "type"): _Walk._type,
    ("functools", "partial"): _Walk._partial,
    ("importlib", "import_module"): _Walk._module,
    ("copyreg", "__newobj__"): _Walk._new_of,
    ("copyreg", "_reconstructor"): _Walk._new_of,
    ("torch.storage", "_load_from_bytes"): _Walk._load_from_bytes,
    **{(n.module, n.qualname): _Walk._module for n in _names(_CLOUDPICKLE, "subimport")},
    **{(n.module, n.qualname): _Walk._builtin_type for n in _names(_CLOUDPICKLE, "_builtin_type")},
    **{(n.module, n.qualname): _Walk._loads for n in _LOADERS},
}
"""Functions that lead to a name, a module or a pickle, where they are not called in their form."""

_Prover.opcodes = tuple(
    {
        b"]"[0]: (lambda m: m.stack.append(OpenList()), holds),
        b"}"[0]: (lambda m: m.stack.append(OpenDict()), holds),
        b"\x8f"[0]: (lambda m: m.stack.append(OpenSet()), holds),
        b"\x90"[0]: (_Prover.add_to_set, holds),
        b"\x91"[0]: (lambda m: m.stack.append(m.vocabulary.frozen(m._group())), holds),
        b"l"[0]: (lambda m: m.stack.append(OpenList(m._group())), holds),
        b"d"[0]: (lambda m: m.dict_of(OpenDict()), holds),
    }.get(code, (does, holds))
    for code, (does, holds) in enumerate(Machine.opcodes)
)
