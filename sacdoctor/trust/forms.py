"""The forms in which SB3 and its libraries call what they name, and give states to what that makes.

A row for each name: what arguments it takes, and what they make. Only what stands here is proven;
whatever else a pickle does with a known name is none of the forms in which these libraries write.

Sources: `__reduce_ex__` of numpy (`ndarray`, `dtype`, `random`), torch (`_utils`, `storage`,
`serialization`), cloudpickle (`cloudpickle.py`, and `cloudpickle_fast.py` before 3.0), Python's own
`copyreg`, `collections`, `datetime`, `pathlib`, `enum`, and the classes of SB3 and gymnasium, which
are made by `__new__` and filled by a dict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from sacdoctor.errors import CheckpointError
from sacdoctor.pickles import Name, encode
from sacdoctor.trust.known_names import IMPORTS, role_of
from sacdoctor.trust.things import (
    CLASSES,
    FrozenItems,
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

NOT_PROVEN = object()
"""What a form returns for what is not of it."""
Args = tuple[Any, ...]


class Walk(Protocol):
    """What a form needs of the walk that meets it."""

    def holds_data(self, value: Any) -> bool:
        """Return whether a value does nothing by itself; it is sealed, for somebody takes it."""

    def of_code(self, code: Code) -> Thing:
        """Return what stands for a code object, and note what it does."""

    def can_hash(self, items: Iterable[Any]) -> bool:
        """Return whether Python can work out the hashes of items of a set or keys of a dict."""

    def has_globals(self, code: Code, own: Any) -> None:
        """Note what a function's globals say about what its code reaches."""


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_bytes(value: Any) -> bool:
    return isinstance(value, (bytes, memoryview))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float, bool)


def _is_shape(value: Any) -> bool:
    if is_thing(value, Role.VALUE):  # torch.Size
        value = value.detail
    return isinstance(value, tuple) and all(type(n) is int and n >= 0 for n in value)


def is_thing(value: Any, *roles: Role) -> bool:
    """Return whether a proven call made it, and it is one of these."""
    return isinstance(value, Thing) and value.role in roles


def is_name(value: Any, module: str, qualname: str) -> bool:
    """Return whether it is this name."""
    return isinstance(value, Name) and (value.module, value.qualname) == (module, qualname)


def _is_class(value: Any, *roles: Role) -> bool:
    """Whether it is the name of a known class of one of these kinds."""
    return isinstance(value, Name) and role_of(value.module, value.qualname) in roles


# -- numpy ---------------------------------------------------------------------------------------

_ELEMENTS = re.compile(r"([biufc])(1|2|4|8|16|32)|([US])(\d{1,6})|O8")
_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
MAX_DEPTH = 64
"""How deep arrays of objects, `deque`s and `defaultdict`s may stand in one another. Python frees
them one inside the other, and its stack ends after some ten thousands; its pickler after a
thousand."""


def _dtype(walk: Walk, args: Args) -> Any:
    """`dtype("f4", False, True)`: the copy alone may get a state."""
    if len(args) != 3 or not _is_text(args[0]) or args[1:] not in ((False, True), (0, 1)):
        return NOT_PROVEN
    if _ELEMENTS.fullmatch(args[0]) is None:
        return NOT_PROVEN
    return Thing(Role.DTYPE, Name("numpy", "dtype"), args[0])


def _dtype_state(walk: Walk, thing: Thing, state: Any) -> bool:
    """Byte order alone: sizes and flags are those that the type has by its name."""
    match = _ELEMENTS.fullmatch(thing.detail)
    assert match is not None
    tail: Args = (-1, -1, 63) if thing.detail == "O8" else (-1, -1, 0)
    if match[3]:
        size = int(match[4])
        tail = (4 * size, 4, 8) if match[3] == "U" else (size, 1, 0)
    return (
        isinstance(state, tuple)
        and len(state) == 8
        and all(map(_is_int, (state[0], *state[5:])))
        and state[0] == 3
        and state[1] in ("<", ">", "=", "|")
        and state[2:5] == (None, None, None)
        and state[5:] == tail
    )


def _itemsize(dtype: Thing) -> int:
    match = _ELEMENTS.fullmatch(dtype.detail)
    assert match is not None
    if match[1]:
        return int(match[2])
    return int(match[4]) * (4 if match[3] == "U" else 1) if match[3] else 0


def _fits(walk: Walk, dtype: Any, shape: Any, data: Any) -> bool:
    """Whether bytes, or a list of objects, are all that an array of that shape holds."""
    if not is_thing(dtype, Role.DTYPE) or not _is_shape(shape) or len(shape) > 32:
        return False
    dtype.is_sealed = True
    if dtype.detail == "O8":
        return isinstance(data, list) and len(data) == prod(shape) and walk.holds_data(data)
    return _is_bytes(data) and len(data) == prod(shape) * _itemsize(dtype)


def _reconstruct(walk: Walk, args: Args) -> Any:
    if len(args) != 3 or not is_name(args[0], "numpy", "ndarray"):
        return NOT_PROVEN
    if args[1] != (0,) or not _is_shape(args[1]) or not _is_bytes(args[2]) or args[2] != b"b":
        return NOT_PROVEN
    return Thing(Role.ARRAY, Name("numpy", "ndarray"))


def _array_state(walk: Walk, thing: Thing, state: Any) -> bool:
    if not isinstance(state, tuple) or len(state) != 5 or not _is_int(state[0]):
        return False
    version, shape, dtype, fortran, data = state
    if version != 1 or type(fortran) not in (bool, int) or not _fits(walk, dtype, shape, data):
        return False
    return not isinstance(data, list) or deepened(thing, data)


def deepened(thing: Thing, items: Collection[Any]) -> bool:
    """Note what stands in a thing without a container between; returns whether it may.

    An array in itself is as deep as it gets: what numpy does with each of its objects has no end.
    """
    if any(item is thing for item in items):
        return False
    within = max((item.depth for item in items if isinstance(item, Thing)), default=-1)
    thing.depth = max(thing.depth, within + 1)
    return thing.depth <= MAX_DEPTH


def _frombuffer(walk: Walk, args: Args) -> Any:
    if len(args) not in (4, 5):
        return NOT_PROVEN
    data, dtype, shape, order, *axes = args
    if order not in ("C", "F", "K", "A") or not _is_text(order) or not all(map(_is_shape, axes)):
        return NOT_PROVEN
    if not _is_bytes(data) or not _fits(walk, dtype, shape, data):
        return NOT_PROVEN
    return Thing(Role.ARRAY, Name("numpy", "ndarray"), is_sealed=True)


_SCALAR = Name("numpy", "scalar")


def _is_scalar_number(value: Any) -> bool:
    kind = value.detail if is_thing(value, Role.VALUE) and value.name == _SCALAR else ""
    return str(kind).startswith(("b", "i", "u", "f"))


def _scalar(walk: Walk, args: Args) -> Any:
    if len(args) != 2 or not _is_bytes(args[1]) or not _fits(walk, args[0], (), args[1]):
        return NOT_PROVEN
    return Thing(Role.VALUE, _SCALAR, args[0].detail, is_sealed=True)


def _generator(walk: Walk, args: Args) -> Any:
    """A generator of a known kind, by its name or its class, or around one that is made."""
    if len(args) > 1 and not is_name(args[1], "numpy.random._pickle", "__bit_generator_ctor"):
        return NOT_PROVEN
    of = args[0] if args else "MT19937"
    is_known = (
        (_is_text(of) and of in _GENERATORS)
        or is_thing(of, Role.GENERATOR)
        or (isinstance(of, Name) and of.module.startswith("numpy.random.") and _is_type(of))
    )
    if not is_known or len(args) > 2 or not walk.holds_data(of):
        return NOT_PROVEN
    return Thing(Role.GENERATOR, Name("numpy.random", "Generator"))


def _is_type(value: Any) -> bool:
    return _is_class(value, Role.TYPE)


def _seed(walk: Walk, args: Args) -> Any:
    if len(args) != 3 or not isinstance(args[0], Name) or not _is_int(args[1]):
        return NOT_PROVEN
    made = Thing(Role.GENERATOR, args[0])
    if not _is_seed(made) or not _is_type(args[0]):
        return NOT_PROVEN
    if args[2] is not None and not (
        isinstance(args[2], tuple) and _generator_state(walk, made, args[2])
    ):
        return NOT_PROVEN
    return made


def _is_seed(value: Any) -> bool:
    module = value.name.module if is_thing(value, Role.GENERATOR) else ""
    return str(module) == "numpy.random.bit_generator"


_POSITIONS = {"pos": 624, "buffer_pos": 4}
"""How far a generator may stand in its own state: MT19937 and Philox. numpy takes any number there,
and reads whatever lies behind the state at the next draw."""


def _generator_state(walk: Walk, thing: Thing, state: Any) -> bool:
    """Numbers and arrays of them; beside those of a generator, the seed that it came from."""
    is_of_form = isinstance(state, (dict, tuple)) and _stands_inside(state, not _is_seed(thing))
    return is_of_form and walk.holds_data(state)


def _stands_inside(state: Any, takes_a_seed: bool, depth: int = 0) -> bool:
    """Whether it is a part of a generator's state, and each position in it is inside.

    Dicts are Python's own with texts of its own for keys: what is equal to these is found by them.
    """
    if isinstance(state, dict):
        items: list[tuple[Any, Any]] = [*state.items()]
        if not all(map(_is_text, state)):
            return False
    elif isinstance(state, (tuple, list)):
        items = [*enumerate(state)]
        if len(state) > 2 and _is_text(state[0]):
            items.append(("pos", state[2]))  # before numpy 1.17: name, key, position, …
    elif is_thing(state, Role.GENERATOR):
        return takes_a_seed and _is_seed(state)
    else:
        is_plain = state is None or _is_number(state) or _is_text(state)
        return is_plain or is_thing(state, Role.ARRAY) or _is_scalar_number(state)
    return depth <= _STATE_DEPTH and all(
        _is_int(value) and 0 <= value <= _POSITIONS[key]
        if key in _POSITIONS
        else _stands_inside(value, takes_a_seed, depth + 1)
        for key, value in items
    )


_STATE_DEPTH = 3
"""How deep a generator's state nests: the pair with its seed, its dict, the dict in there."""


# -- torch ---------------------------------------------------------------------------------------

_DEVICE = re.compile(r"[a-z]+(:\d+)?")


def _is_device(value: Any) -> bool:
    return _is_text(value) and _DEVICE.fullmatch(value) is not None


def storage(identity: Any) -> Any:
    """A persistent id: what torch finds in the file by a tuple that starts with `storage`."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6):
        return NOT_PROVEN
    word, kind, key, device, numel, *view = identity
    if word != "storage" or not _is_text(word) or not _is_class(kind, Role.STORAGE):
        return NOT_PROVEN
    is_whole = not view or view[0] is None
    if not is_whole or not _is_text(key) or not _is_device(device) or not _is_int(numel):
        return NOT_PROVEN
    return Thing(Role.STORAGE, Name("torch", "storage"), is_sealed=True)


def _tensor(more: int) -> Callable[[Walk, Args], Any]:
    """Storage, offset, size, stride; then whether it requires a gradient, hooks, its type."""

    def tensor(walk: Walk, args: Args) -> Any:
        if len(args) != 4 + more or not is_thing(args[0], Role.STORAGE):
            return NOT_PROVEN
        if not _is_int(args[1]) or not _is_shape(args[2]) or not _is_shape(args[3]):
            return NOT_PROVEN
        if more and not (type(args[4]) is bool and _is_no_hook(args[5])):
            return NOT_PROVEN
        if more > 2 and not _is_class(args[6], Role.CONSTANT):
            return NOT_PROVEN
        return _made_tensor()

    return tensor


def _made_tensor() -> Thing:
    return Thing(Role.TENSOR, Name("torch", "Tensor"), is_sealed=True)


def _is_no_hook(hooks: Any) -> bool:
    """Whether it is an empty ordered dict, which stays empty: a tensor calls what is in there."""
    if is_thing(hooks, Role.ORDERED) and not hooks.detail:
        hooks.is_sealed = True
        return True
    return False


def _parameter(walk: Walk, args: Args) -> Any:
    if len(args) != 3 or not is_thing(args[0], Role.TENSOR) or type(args[1]) is not bool:
        return NOT_PROVEN
    return _made_tensor() if _is_no_hook(args[2]) else NOT_PROVEN


def _device(walk: Walk, args: Args) -> Any:
    if not 1 <= len(args) <= 2 or not _is_device(args[0]) or not all(map(_is_int, args[1:])):
        return NOT_PROVEN
    return Thing(Role.VALUE, Name("torch", "device"), is_sealed=True)


def _size(walk: Walk, args: Args) -> Any:
    if len(args) != 1 or not isinstance(args[0], (tuple, list)):
        return NOT_PROVEN
    if not all(map(_is_int, args[0])):
        return NOT_PROVEN
    return Thing(Role.VALUE, Name("torch", "Size"), tuple(args[0]), is_sealed=True)


def _layout(walk: Walk, args: Args) -> Any:
    if len(args) != 1 or not _is_text(args[0]):
        return NOT_PROVEN
    return Thing(Role.VALUE, Name("torch", "layout"), is_sealed=True)


# -- Python --------------------------------------------------------------------------------------


def _ordered(walk: Walk, args: Args) -> Any:
    made = Thing(Role.ORDERED, Name("collections", "OrderedDict"), OpenDict())
    if not args:
        return made
    if len(args) > 1 or not isinstance(args[0], (list, dict)) or not walk.holds_data(args[0]):
        return NOT_PROVEN
    made.detail[None] = args[0]  # as one item: nothing here asks for its pairs
    return made


def _ordered_state(walk: Walk, thing: Thing, state: Any) -> bool:
    """What `Module.state_dict` keeps beside the tensors: versions."""
    return isinstance(state, dict) and state.keys() <= {"_metadata"} and walk.holds_data(state)


def _deque(walk: Walk, args: Args) -> Any:
    if len(args) > 2 or not (len(args) < 2 or args[1] is None or _is_int(args[1])):
        return NOT_PROVEN
    if args and not (isinstance(args[0], (tuple, list)) and walk.holds_data(args[0])):
        return NOT_PROVEN
    made = Thing(Role.DEQUE, Name("collections", "deque"))
    return made if not args or deepened(made, args[0]) else NOT_PROVEN


def _default(walk: Walk, args: Args) -> Any:
    if len(args) > 1 or not all(map(_is_type, args)):
        return NOT_PROVEN
    return Thing(Role.ORDERED, Name("collections", "defaultdict"), OpenDict())


def _container(make: type) -> Callable[[Walk, Args], Any]:
    def container(walk: Walk, args: Args) -> Any:
        if not args:
            return make()
        if len(args) > 1 or not isinstance(args[0], (tuple, list)) or not walk.holds_data(args[0]):
            return NOT_PROVEN
        if make in (OpenSet, FrozenItems) and not walk.can_hash(args[0]):
            return NOT_PROVEN
        return make(args[0])

    return container


def _counter(walk: Walk, args: Args) -> Any:
    if len(args) != 1 or not isinstance(args[0], dict) or not walk.holds_data(args[0]):
        return NOT_PROVEN
    return Thing(Role.VALUE, Name("collections", "Counter"), is_sealed=True)


def _dict(walk: Walk, args: Args) -> Any:
    return NOT_PROVEN if args else OpenDict()


def _bytes(walk: Walk, args: Args) -> Any:
    if len(args) == 1 and _is_bytes(args[0]):
        return args[0]
    return _encode(walk, args) if args else b""


def _encode(walk: Walk, args: Args) -> Any:
    """`_codecs.encode(text, "latin1")`, which protocols below 3 write bytes as."""
    if len(args) != 2 or not _is_text(args[0]) or not _is_text(args[1]):
        return NOT_PROVEN
    try:
        return encode(*args)
    except CheckpointError:
        return NOT_PROVEN


def _value(*kinds: type | None) -> Callable[[Walk, Args], Any]:
    """A value of its own, made from plain ones of these types."""

    def value(walk: Walk, args: Args) -> Any:
        if not args or not all(type(arg) in (*kinds, type(None)) for arg in args):
            return NOT_PROVEN
        return Thing(Role.VALUE, Name("", "a value"), is_sealed=True)

    return value


def _moment(walk: Walk, args: Args) -> Any:
    """Of `datetime`: bytes or numbers, and a time zone."""
    is_plain = all(
        _is_bytes(arg) or _is_int(arg) or _is_text(arg) or is_thing(arg, Role.VALUE) for arg in args
    )
    if not args or not is_plain:
        return NOT_PROVEN
    return Thing(Role.VALUE, Name("datetime", "datetime"), is_sealed=True)


def _namespace(walk: Walk, args: Args) -> Any:
    return NOT_PROVEN if args else Thing(Role.NAMESPACE, Name("types", "SimpleNamespace"))


def _reconstructor(walk: Walk, args: Args) -> Any:
    """`copyreg._reconstructor(cls, object, None)`: what protocols 0 and 1 make objects by."""
    if len(args) != 3 or not is_name(args[1], "builtins", "object") or args[2] is not None:
        return NOT_PROVEN
    return new(walk, args[0], ())


def _newobj(walk: Walk, args: Args) -> Any:
    return new(walk, args[0], args[1:]) if args else NOT_PROVEN


# -- cloudpickle ---------------------------------------------------------------------------------

_BASE_GLOBALS = frozenset(("__package__", "__name__", "__path__", "__file__"))
_OF_FUNCTION = frozenset(
    (
        *("__globals__", "__closure__", "_cloudpickle_submodules", "__defaults__"),
        *("__kwdefaults__", "__module__", "__name__", "__qualname__", "__doc__"),
        *("__annotations__", "__type_params__"),
    )
)
_FILLED = frozenset(
    (
        *("globals", "defaults", "dict", "closure_values", "module", "name", "doc", "qualname"),
        *("_cloudpickle_submodules", "kwdefaults", "annotations"),
    )
)


class Function(Struct, eq=False):
    """A function that the pickle puts together.

    `needs` are the global names that its code uses and nobody has given it yet; None where it does
    not only compute.
    """

    code: Code
    needs: frozenset[str] | None


def _code(walk: Walk, args: Args) -> Any:
    from sacdoctor.trust.bytecode import Code  # few files hold code, and a scan starts without

    code = Code.of(args)
    return NOT_PROVEN if code is None else walk.of_code(code)


def _base_globals(value: Any) -> bool:
    return (
        type(value) in (OpenDict, SharedGlobals)
        and value.keys() <= _BASE_GLOBALS
        and all(item is None or _is_text(item) for item in value.values())
    )


def _function(walk: Walk, args: Args) -> Any:
    if len(args) != 5 or not is_thing(args[0], Role.CODE):
        return NOT_PROVEN
    code, shared, name, defaults, closure = args
    is_of_form = (
        _base_globals(shared)
        and (name is None or _is_text(name))
        and (defaults is None or (isinstance(defaults, tuple) and walk.holds_data(defaults)))
        and (closure is None or _are_cells(closure))
    )
    return _of_function(code, shared) if is_of_form else NOT_PROVEN


def _of_function(code: Thing, shared: Any) -> Thing:
    """Make the function; its globals hold Python's built-in functions from then on."""
    shared.__class__ = SharedGlobals
    name = Name("", f"the function {code.detail.name}")
    return Thing(Role.CODE_FUNCTION, name, Function(code.detail, code.detail.needs))


def _are_cells(value: Any) -> bool:
    return isinstance(value, tuple) and all(is_thing(cell, Role.CELL) for cell in value)


def _function_state(walk: Walk, args: Args) -> Any:
    """`_function_setstate(function, (its attributes, its parts))`."""
    if len(args) != 2 or not is_thing(args[0], Role.CODE_FUNCTION) or args[0].is_sealed:
        return NOT_PROVEN
    if not isinstance(args[1], tuple) or len(args[1]) != 2:
        return NOT_PROVEN
    attributes, parts = args[1]
    if not isinstance(attributes, dict) or type(parts) is not OpenDict:
        return NOT_PROVEN
    seal(parts)
    own, closure = parts.get("__globals__"), parts.get("__closure__")
    rest = [value for key, value in parts.items() if key not in ("__globals__", "__closure__")]
    is_of_form = args[0].detail.needs is None or (
        parts.keys() <= _OF_FUNCTION
        and _are_attributes(attributes)
        and walk.holds_data(attributes)
        and all(_is_global(walk, value) for value in rest)
        and (closure is None or _are_cells(closure))
        and _give_globals(walk, args[0], own)
    )
    walk.has_globals(args[0].detail.code, own)
    return None if is_of_form else NOT_PROVEN


def _give_globals(walk: Walk, function: Thing, own: Any) -> bool:
    """Give a function its globals; returns whether all of them are harmless in code."""
    if not isinstance(own, dict) or "__builtins__" in own or not all(map(_is_text, own)):
        return False
    function.detail.needs -= own.keys()
    return all(_is_global(walk, value) for value in own.values())


def _is_global(walk: Walk, value: Any) -> bool:
    """Whether code that only computes may use a value: data, maths, functions like itself."""
    if is_thing(value, Role.MODULE) or _is_class(value, Role.MATHS):
        return True
    if is_complete(value):
        value.is_sealed = True
        return True
    if isinstance(value, list) and any(is_thing(item, Role.MODULE) for item in value):
        walk.holds_data(value)  # which it does not, but nothing is added to it any more
        return all(_is_global(walk, item) for item in value)
    return walk.holds_data(value)


def is_complete(value: Any) -> bool:
    """Whether it is a function that has all that it uses; one that does more was named."""
    return is_thing(value, Role.CODE_FUNCTION) and not value.detail.needs


def is_named_code(value: Any) -> bool:
    """Whether it is a function that does more than compute, which is named for its code."""
    return is_thing(value, Role.CODE_FUNCTION) and value.detail.needs is None


def _cell(walk: Walk, args: Args) -> Any:
    if len(args) > 1 or not all(_is_global(walk, value) for value in args):
        return NOT_PROVEN
    return Thing(Role.CELL, Name("types", "CellType"))


def _empty_cell(walk: Walk, args: Args) -> Any:
    return NOT_PROVEN if args else Thing(Role.CELL, Name("types", "CellType"))


def _fill_cell(walk: Walk, args: Args) -> Any:
    if len(args) != 2 or not is_thing(args[0], Role.CELL) or not _is_global(walk, args[1]):
        return NOT_PROVEN
    return None


def _skeleton(walk: Walk, args: Args) -> Any:
    """`_make_skel_func(code, number of cells, globals)`, until cloudpickle 1.4."""
    if len(args) not in (2, 3) or not is_thing(args[0], Role.CODE) or not _is_int(args[1]):
        return NOT_PROVEN
    shared = args[2] if len(args) == 3 else OpenDict()
    return _of_function(args[0], shared) if _base_globals(shared) else NOT_PROVEN


def _fill(walk: Walk, args: Args) -> Any:
    """`_fill_function(function, dict)`, which returns the function."""
    if len(args) != 2 or not is_thing(args[0], Role.CODE_FUNCTION) or args[0].is_sealed:
        return NOT_PROVEN
    parts = args[1]
    if type(parts) is not OpenDict:
        return NOT_PROVEN
    seal(parts)
    cells, own = parts.get("closure_values"), parts.get("globals")
    rest = [value for key, value in parts.items() if key not in ("globals", "closure_values")]
    walk.has_globals(args[0].detail.code, own)
    is_of_form = args[0].detail.needs is None or (
        parts.keys() <= _FILLED
        and all(_is_global(walk, value) for value in rest)
        and isinstance(cells, (list, type(None)))
        and all(_is_global(walk, value) for value in cells or ())
        and _give_globals(walk, args[0], own)
    )
    return args[0] if is_of_form else NOT_PROVEN


# -- what is made by `__new__` and filled by a dict ------------------------------------------------

_MADE = (Role.SPACE, Role.BUFFER, Role.NOISE, Role.STATISTICS, Role.SCHEDULE)
_UNITS = {"TrainFrequencyUnit": ("step", "episode"), "GoalSelectionStrategy": (0, 1, 2)}
_MEMBERS = {
    "TrainFrequencyUnit": ("STEP", "EPISODE"),
    "GoalSelectionStrategy": ("FUTURE", "FINAL", "EPISODE"),
}


def new(walk: Walk, cls: Any, args: Args) -> Any:
    """Return what `cls.__new__(cls, *args)` makes of a known class."""
    if is_name(cls, "stable_baselines3.common.type_aliases", "TrainFreq"):
        if len(args) == 2 and _is_int(args[0]) and is_thing(args[1], Role.ENUM):
            return Thing(Role.VALUE, cls, is_sealed=True)
        return NOT_PROVEN
    if not isinstance(cls, Name):
        return NOT_PROVEN
    role = role_of(cls.module, cls.qualname)
    if role in _MADE and not args:
        return Thing(role, cls)
    if is_name(cls, "collections", "OrderedDict") or is_name(cls, "torch", "Size"):
        return FORMS[cls.module, cls.qualname](walk, args)
    return NOT_PROVEN


def _are_attributes(state: Any) -> bool:
    """Whether a state sets attributes, and none that Python or numpy asks any object for.

    `__array_interface__`, for one, makes an array of it, over whatever lies at an address. A key
    that is no text of Python's own (numpy's are equal to these) may be any of them.
    """
    return isinstance(state, dict) and all(
        _is_text(key) and not key.startswith("__") for key in state
    )


def _attributes(walk: Walk, thing: Thing, state: Any) -> bool:
    return _are_attributes(state) and walk.holds_data(state)


def _schedule_state(walk: Walk, thing: Thing, state: Any) -> bool:
    """Numbers, or the schedule that it passes on to."""
    return _are_attributes(state) and all(
        _is_number(value) or is_schedule(value) or walk.holds_data(value)
        for value in state.values()
    )


def is_schedule(value: Any) -> bool:
    """Whether it is what SB3 calls for a rate: its own classes, or code that only computes."""
    if is_complete(value) or is_thing(value, Role.SCHEDULE):
        value.is_sealed = True
        return True
    return False


def member(cls: Name, value: Any, by_name: bool) -> Any:
    """Return a member of a known enumeration, by its name or its value."""
    known = (_MEMBERS if by_name else _UNITS)[cls.qualname]
    if type(value) not in (int, str) or value not in known:
        return NOT_PROVEN
    return Thing(Role.ENUM, cls, is_sealed=True)


def partial_state(walk: Walk, thing: Thing, state: Any) -> bool:
    """`functools.partial`: the function that it was made with again, and what it is given."""
    if not isinstance(state, tuple) or len(state) != 4 or state[0] != thing.detail:
        return False
    _, args, keywords, attributes = state
    return (
        isinstance(args, tuple)
        and isinstance(keywords, (dict, type(None)))
        and (attributes is None or _are_attributes(attributes))
        and walk.holds_data(state[1:])
    )


def partial(walk: Walk, args: Args) -> Any:
    """A class that may lie about, or what SB3 calls for a rate, with arguments that do nothing."""
    if not args or not (_is_class(args[0], *CLASSES) or is_schedule(args[0])):
        return NOT_PROVEN
    if not walk.holds_data(args[1:]):
        return NOT_PROVEN
    return Thing(Role.PARTIAL, Name("functools", "partial"), args[0])


def subimport(walk: Walk, args: Args) -> Any:
    """Return one of the modules whose import tells nothing."""
    if len(args) != 1 or not _is_text(args[0]) or args[0] not in IMPORTS:
        return NOT_PROVEN
    return Thing(Role.MODULE, Name(args[0], ""), args[0], is_sealed=True)


def type_of(walk: Walk, args: Args) -> Any:
    """`type(None)` and its like, which have no name of their own to be pickled by."""
    return Name("types", "NoneType") if args in ((None,), (NotImplemented,)) else NOT_PROVEN


def builtin_type(walk: Walk, args: Args) -> Any:
    """Return the type of functions or code that cloudpickle asks `types` for."""
    if len(args) != 1 or args[0] not in ("CodeType", "LambdaType", "FunctionType"):
        return NOT_PROVEN
    return Name("types", args[0])


def attribute(walk: Walk, args: Args) -> Any:
    """`getattr(enumeration, name)`: how Python 3.11 writes a member."""
    if len(args) != 2 or not _is_class(args[0], Role.ENUM):
        return NOT_PROVEN
    return member(args[0], args[1], by_name=True)


Form = Callable[[Walk, Args], Any]

FORMS: dict[tuple[str, str], Form] = {
    ("numpy", "dtype"): _dtype,
    ("numpy.random", "__RandomState_ctor"): _generator,
    ("numpy.random._pickle", "__randomstate_ctor"): _generator,
    ("numpy.random._pickle", "__generator_ctor"): _generator,
    ("numpy.random._pickle", "__bit_generator_ctor"): _generator,
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): _seed,
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedlessSeedSequence"): _seed,
    ("torch._utils", "_rebuild_tensor"): _tensor(0),
    ("torch._utils", "_rebuild_tensor_v2"): _tensor(2),
    ("torch._utils", "_rebuild_tensor_v3"): _tensor(3),
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "device"): _device,
    ("torch", "Size"): _size,
    ("torch.serialization", "_get_layout"): _layout,
    ("collections", "OrderedDict"): _ordered,
    ("collections", "deque"): _deque,
    ("collections", "defaultdict"): _default,
    ("collections", "Counter"): _counter,
    ("builtins", "list"): _container(OpenList),
    ("builtins", "set"): _container(OpenSet),
    ("builtins", "frozenset"): _container(FrozenItems),
    ("builtins", "tuple"): _container(tuple),
    ("builtins", "dict"): _dict,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("builtins", "complex"): _value(float),
    ("builtins", "slice"): _value(int),
    ("builtins", "range"): _value(int),
    ("_codecs", "encode"): _encode,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("copyreg", "__newobj__"): _newobj,
    ("types", "SimpleNamespace"): _namespace,
    ("types", "CodeType"): _code,
    ("types", "FunctionType"): _function,
    ("types", "LambdaType"): _function,
    ("builtins", "type"): type_of,
    ("builtins", "getattr"): attribute,
    ("functools", "partial"): partial,
    **{
        ("datetime", kind): _moment
        for kind in ["date", "datetime", "time", "timedelta", "timezone"]
    },
    **{
        (module, f"{kind}Path"): _value(str)
        for module in ("pathlib", "pathlib._local")
        for kind in ("", "Posix", "Windows", "PurePosix", "PureWindows")
    },
    **{
        (f"numpy.{core}.{module}", qualname): form
        for core in ("core", "_core")
        for module, qualname, form in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
    **{
        (f"cloudpickle.{module}", qualname): form
        for module in ("cloudpickle", "cloudpickle_fast")
        for qualname, form in (
            ("_make_function", _function),
            ("_function_setstate", _function_state),
            ("_make_empty_cell", _empty_cell),
            ("_make_cell", _cell),
            ("_cell_set", _fill_cell),
            ("_make_skel_func", _skeleton),
            ("_fill_function", _fill),
            ("_builtin_type", builtin_type),
            ("subimport", subimport),
        )
    },
}
"""What calling a name takes, and what it makes."""

STATES: dict[Role, Callable[[Walk, Thing, Any], bool]] = {
    Role.DTYPE: _dtype_state,
    Role.ARRAY: _array_state,
    Role.GENERATOR: _generator_state,
    Role.ORDERED: _ordered_state,
    Role.NAMESPACE: _attributes,
    Role.SPACE: _attributes,
    Role.BUFFER: _attributes,
    Role.NOISE: _attributes,
    Role.STATISTICS: _attributes,
    Role.SCHEDULE: _schedule_state,
    Role.PARTIAL: partial_state,
}
"""What state a thing takes, once, before anybody else holds it."""
