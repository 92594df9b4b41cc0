"""Programs that hide what they do: every kind that a walker which imitates pickle has fallen for.

Most end in `_load_from_bytes`, by which torch's storages are pickled: it reads a torch file, with
whatever that calls. A walker must look into the bytes, and the bytes here are not those that stand
in the file when it looks.
"""

from __future__ import annotations

from collections.abc import Callable
from pickle import dumps

from tests.archives import zip_of
from tests.payloads.assembly import (
    EMPTY,
    FALSE,
    NONE,
    POP,
    TRUE,
    aside,
    attribute,
    build,
    call,
    data,
    dict_,
    growing,
    kept,
    list_,
    name,
    new,
    number,
    numbers,
    persistent,
    slots,
    text,
    tuple_,
    whole,
)
from tests.payloads.calls import Marks, Program

LOAD = name("torch.storage", "_load_from_bytes")
EXEC = name("builtins", "exec")
NAMESPACE = name("types", "SimpleNamespace")
PARTIAL = name("functools", "partial")
ENCODE = name("_codecs", "encode")
CLOUD = "cloudpickle.cloudpickle"
SET_CLASS = name(CLOUD, "_class_setstate")
SET_FUNCTION = name(CLOUD, "_function_setstate")
SB3_ENUM = name("stable_baselines3.common.type_aliases", "TrainFrequencyUnit")
SB3_CLASS = name("stable_baselines3.common.utils", "FloatSchedule")
U1 = call(name("numpy", "dtype"), text("u1"), FALSE, TRUE)
OBJECTS = call(name("numpy", "dtype"), text("O8"), FALSE, TRUE)
MAGIC = b"L119547037146038801333356L\n.L1001L\n.}."
"""What the torch format before PyTorch 1.6 begins with, in letters alone."""


def torch_zip(pickle: bytes) -> bytes:
    """The least that torch takes for a file of its own."""
    return zip_of({"archive/data.pkl": pickle, "archive/version": b"3\n"})


def torch_file(mark: Marks) -> bytes:
    """A torch file that makes the file."""
    return torch_zip(mark.pickle)


def legacy_file(program: bytes) -> bytes:
    """A file of before PyTorch 1.6 in letters alone, for where it has to be a text."""
    return MAGIC + program + b"." + b"]."


def old_torch(program: bytes) -> bytes:
    """A torch file in the format before PyTorch 1.6, as torch writes it."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    before = (0x1950A86A20F9469CFC6C, 1001, system)
    return b"".join(dumps(part, 2) for part in before) + whole(program) + dumps([], 2)


def namespace(**attributes: bytes) -> bytes:
    return build(NAMESPACE + EMPTY + b"R", dict_(**attributes))


def filled_through_an_array(mark: Marks) -> bytes:
    """An array over a bytearray: what is set in one stands in the other."""
    evil = torch_file(mark)
    harmless = torch_zip(whole(NONE)).ljust(len(evil), b"\0")
    array = call(
        name("numpy._core.numeric", "_frombuffer"), kept(900), U1, numbers(len(evil)), text("C")
    )
    sets = b"(" + b"".join(number(at) + number(byte) for at, byte in enumerate(evil)) + b"u"
    return aside(growing(harmless), 900) + array + sets + POP + call(LOAD, kept(900))


def filled_by_its_own_state(mark: Marks) -> bytes:
    """A bytearray that is appended to after it was read once."""
    evil = torch_file(mark)
    appended = b"(" + b"".join(map(number, evil)) + b"e"
    return aside(growing(b""), 900) + kept(900) + appended + POP + call(LOAD, kept(900))


def array_as_bytes(mark: Marks) -> bytes:
    """Not a text and no bytes in the pickle: what an array's buffer holds."""
    array = call(
        name("numpy._core.numeric", "_frombuffer"),
        data(torch_file(mark)),
        U1,
        numbers(len(torch_file(mark))),
        text("C"),
    )
    return call(LOAD, array)


def encoded(mark: Marks, encoding: str, errors: str | None, shown: str) -> bytes:
    more = () if errors is None else (text(errors),)
    return call(LOAD, call(ENCODE, text(shown), text(encoding), *more))


def dropped_characters(errors: str) -> Program:
    """`_codecs.encode(text, "latin1", "ignore")`: what is no byte is dropped, or made of it."""

    def program(mark: Marks) -> bytes:
        evil = legacy_file(mark.letters).decode("ascii")
        return encoded(mark, "ascii", errors, "☃" * (errors == "ignore") + evil)

    return program


def in_another_encoding(encoding: str) -> Program:
    def program(mark: Marks) -> bytes:
        return encoded(mark, encoding, None, torch_file(mark).decode(encoding))

    return program


def made_by(maker: bytes) -> Program:
    """Bytes that a harmless call returns."""
    return lambda mark: call(LOAD, call(maker, data(torch_file(mark))))


def read_as_utf_8(mark: Marks) -> bytes:
    """torch reads old strings as UTF-8: five characters where there are ten bytes.

    As bytes these are bytes and a text behind them; as characters the bytes take the text's head.
    """
    hidden = b"X" + len(mark.letters).to_bytes(4, "little") + mark.letters + POP
    file = MAGIC + b"C\x0a" + "é".encode() * 5 + hidden + NONE + b".]."
    old = b"T" + len(file).to_bytes(4, "little") + file
    return call(LOAD, call(ENCODE, old, text("latin1")))


def read_as_escapes(mark: Marks) -> bytes:
    """Python knows no `\\u0041` in an old string: six characters, not one."""
    skipped = NONE + b"."
    inner = b"U\x06\\u0041" + b"X" + len(skipped).to_bytes(4, "little") + skipped + POP
    inner = legacy_file(inner + POP + mark.letters)
    line = b"".join(
        bytes([byte]) if 32 <= byte < 127 and byte not in b"'" else b"\\x%02x" % byte
        for byte in inner
    )
    return call(LOAD, call(ENCODE, b"S'" + line + b"'\n", text("latin1")))


def another_result(mark: Marks) -> bytes:
    """A torch file whose second pickle is not the one that torch reads."""
    file = zip_of(
        {
            "archive/data.pkl": whole(text("tests.payloads.on_import")),
            "archive/version": b"3\n",
            "archive/another-data.pkl": whole(text("math")),
        }
    )
    return call(name(CLOUD, "subimport"), call(LOAD, data(file)))


# -- the same thing by another name ----------------------------------------------------------------


def returned_by(function: bytes, *after: bytes) -> Program:
    """What hides `_load_from_bytes` from who looks for calls of it: it comes back from a call."""
    return lambda mark: call(call(function, LOAD, *after), data(torch_file(mark)))


def as_what_numpy_returns(mark: Marks) -> bytes:
    """`scalar(dtype("O"), x)` is x."""
    return call(
        call(name("numpy._core.multiarray", "scalar"), OBJECTS, LOAD), data(torch_file(mark))
    )


def as_torchs_module(mark: Marks) -> bytes:
    """Before PyTorch 1.6 the persistent id `("module", x, None, None)` was x."""
    alias = persistent(tuple_(text("module"), LOAD, NONE, NONE))
    return call(alias, data(torch_file(mark)))


def torchs_own_patch(mark: Marks) -> bytes:
    """... and a class whose source differs has the difference written beside the model."""
    alias = persistent(tuple_(text("module"), SB3_CLASS, NONE, NONE))
    state = slots(dump_patches=TRUE, __name__=text(mark.path))
    return (
        build(alias, state)
        + POP
        + persistent(tuple_(text("module"), SB3_CLASS, text("file"), text("another source")))
    )


def patch_by_a_class_state(mark: Marks) -> bytes:
    state = dict_(dump_patches=TRUE, __name__=text(mark.path))
    return (
        call(SET_CLASS, SB3_CLASS, tuple_(state, dict_()))
        + POP
        + persistent(tuple_(text("module"), SB3_CLASS, text("file"), text("another source")))
    )


def one_storage_twice(mark: Marks) -> bytes:
    """Two persistent ids with one key are one storage: what is set on one stands on the other."""
    storage = (text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(0))
    one = persistent(tuple_(*storage, NONE))
    return build(one, dict_(payload=waiting(mark))) + POP + call(attribute(one, "payload"))


def waiting(mark: Marks) -> bytes:
    """A function of no argument."""
    return call(PARTIAL, LOAD, data(torch_file(mark)))


def changed_partial(mark: Marks) -> bytes:
    """A partial call of something harmless, that its state makes another."""
    state = tuple_(EXEC, tuple_(text(mark.code)), dict_(), NONE)
    return call(build(call(PARTIAL, name("builtins", "float")), state))


def changed_through_an_alias(mark: Marks) -> bytes:
    """The state is given to the alias in the memo, after the call has been written."""
    state = tuple_(EXEC, tuple_(text(mark.code)), dict_(), NONE)
    return (
        aside(call(PARTIAL, name("builtins", "float")), 901)
        + aside(tuple_(kept(901)), 902)
        + build(kept(901), state)
        + POP
        + namespace(x=kept(902))
        + POP
        + call(kept(901))
    )


def list_filled_later(mark: Marks) -> bytes:
    """A call is given a list that is empty when it is written."""
    return (
        aside(b"]", 903)
        + kept(903)
        + text(mark.code)
        + b"a"
        + POP
        + call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            EXEC,
            name("builtins", "type"),
            call(name("builtins", "tuple"), kept(903)),
            dict_(),
        )
    )


# -- harmless classes that call what they hold -----------------------------------------------------


def through(made: Callable[[bytes], bytes]) -> Program:
    """A program around a call that waits."""
    return lambda mark: made(waiting(mark))


def keys_of_a_namespace(function: bytes, maker: bytes) -> bytes:
    """`dict(x)` asks x for its keys."""
    return call(maker, namespace(keys=function))


def space_state(function: bytes) -> bytes:
    space = name("gymnasium.spaces.discrete", "Discrete")
    return build(new(space), namespace(keys=function))


def array_of_a_namespace(function: bytes) -> bytes:
    return call(name("numpy", "float64"), namespace(__array__=function))


def absorbing(mark: Marks) -> bytes:
    """A function of one argument, which it does not use."""
    return call(
        PARTIAL,
        name("torch._tensor", "_rebuild_from_type_v2"),
        LOAD,
        name("builtins", "str"),
        tuple_(data(torch_file(mark))),
    )


def made_by_a_namespace(mark: Marks) -> bytes:
    """`_reconstructor(a, x, b)` calls `x.__new__(a, b)`."""
    made = namespace(__new__=EXEC)
    return call(name("copyreg", "_reconstructor"), text(mark.code), made, dict_())


def metaclass(mark: Marks) -> bytes:
    """A class is made by whatever says how: its `__prepare__` gets the name and the bases."""
    return call(
        name(CLOUD, "_make_skeleton_class"),
        namespace(__prepare__=EXEC),
        text(mark.code),
        dict_(),
        dict_(),
        NONE,
        NONE,
    )


def bases(function: bytes) -> bytes:
    return call(
        name(CLOUD, "_make_skeleton_class"),
        name("builtins", "type"),
        text("X"),
        tuple_(namespace(__mro_entries__=function)),
        dict_(),
        NONE,
        NONE,
    )


def method_of_a_class(method: str, use: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A class whose methods the pickle gives, and a use of an object of it."""

    def made(function: bytes) -> bytes:
        skeleton = call(
            name(CLOUD, "_make_skeleton_class"),
            name("builtins", "type"),
            text("X"),
            EMPTY,
            dict_(),
            NONE,
            NONE,
        )
        cls = call(SET_CLASS, skeleton, tuple_(dict_(**{method: function}), dict_()))
        return use(new(cls))

    return made


def rebuilt(function: bytes) -> bytes:
    return call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        function,
        name("builtins", "tuple"),
        EMPTY,
        NONE,
    )


def default_factory(function: bytes) -> bytes:
    """`defaultdict` calls for what is missing."""
    return call(
        attribute(call(name("collections", "defaultdict"), function), "__missing__"), number(1)
    )


# -- what everybody uses, changed ------------------------------------------------------------------


def _with_globals(function: bytes, **names: bytes) -> bytes:
    """The state by which cloudpickle fills a function, given to one of SB3's."""
    state = dict_(__globals__=dict_(**names), __closure__=NONE, _cloudpickle_submodules=list_())
    return call(SET_FUNCTION, function, tuple_(dict_(), state)) + POP


def changed_function(mark: Marks) -> bytes:
    """What a function of SB3's calls becomes another."""
    function = name("stable_baselines3.common.utils", "get_schedule_fn")
    changed = _with_globals(function, float=name("builtins", "str"), constant_fn=EXEC)
    return changed + call(function, text(mark.code))


def changed_by_load(mark: Marks) -> bytes:
    """The same without a dangerous name."""
    function = name("stable_baselines3.common.utils", "get_schedule_fn")
    changed = _with_globals(function, float=name("builtins", "bytes"), constant_fn=LOAD)
    return changed + call(function, data(torch_file(mark)))


def changed_enum(mark: Marks) -> bytes:
    """A class of SB3's gets a function of its own, which is then taken for a member."""
    state = tuple_(dict_(START=waiting(mark)), dict_())
    return call(SET_CLASS, SB3_ENUM, state) + POP + call(attribute(SB3_ENUM, "START"))


def built_enum(mark: Marks) -> bytes:
    """A state for a member of an enumeration: everybody has the same one."""
    member = call(SB3_ENUM, text("step"))
    return (
        build(member, dict_(payload=waiting(mark)))
        + POP
        + call(attribute(call(SB3_ENUM, text("step")), "payload"))
    )


def built_class(mark: Marks) -> bytes:
    """A slot state sets attributes on whatever it is given."""
    return (
        build(SB3_CLASS, slots(__init__=call(PARTIAL, EXEC, text(mark.code), dict_())))
        + POP
        + call(SB3_CLASS)
    )


def built_result(mark: Marks) -> bytes:
    """A state for what another pickle returned."""
    inner = torch_zip(whole(call(PARTIAL, name("builtins", "float"))))
    state = tuple_(EXEC, tuple_(text(mark.code)), dict_(), NONE)
    return call(build(call(LOAD, data(inner)), state))


def class_from_another_pickle(mark: Marks) -> bytes:
    inner = torch_zip(whole(SB3_ENUM))
    state = slots(START=waiting(mark))
    return build(call(LOAD, data(inner)), state) + POP + call(attribute(SB3_ENUM, "START"))


def called_result(mark: Marks) -> bytes:
    """Another pickle hands over a function, and this one calls it."""
    inner = torch_zip(whole(LOAD))
    return call(call(LOAD, data(inner)), data(torch_file(mark)))


# -- ways to builtins ------------------------------------------------------------------------------


def captured_builtins(mark: Marks) -> bytes:
    """cloudpickle puts `__builtins__` into the globals of a function that it makes."""
    made = call(name(CLOUD, "_make_function"), _harmless_code(), kept(905), text("f"), NONE, NONE)
    scope = build(NAMESPACE + EMPTY + b"R", kept(905))
    found = build(NAMESPACE + EMPTY + b"R", attribute(scope, "__builtins__"))
    return aside(dict_(), 905) + made + POP + call(attribute(found, "exec"), text(mark.code))


def _harmless_code() -> bytes:
    """The code of `lambda: None`, as this Python writes it."""
    import cloudpickle

    from tests.payloads.assembly import program_of

    return program_of(cloudpickle.dumps((lambda: None).__code__, 3))


def builtin_type(mark: Marks) -> bytes:
    """`_builtin_type(x)` is an attribute of the module `types`, whatever x is."""
    held = call(name(CLOUD, "_builtin_type"), text("__builtins__"))
    return call(attribute(build(NAMESPACE + EMPTY + b"R", held), "exec"), text(mark.code))


WALKS = {
    "torch.storage": "io.open",
    "torch.serialization": "os.system",
    "torch._utils": "sys.modules",
    "torch.nn.modules.activation": "torch.hub.os.system",
    "stable_baselines3.common.utils": "os.system",
    "stable_baselines3.common.buffers": "np.lib._npyio_impl.os.system",
    "stable_baselines3.common.vec_env.vec_normalize": "np.f2py.os.system",
    "gymnasium.spaces.box": "np.f2py.os.system",
    "cloudpickle.cloudpickle": "builtins.exec",
    "numpy": "lib._npyio_impl.os.system",
    "collections": "_sys.modules",
    "pathlib": "os.system",
    "enum": "sys.modules",
    "functools": "__builtins__",
    "copyreg": "__builtins__",
    "datetime": "sys.modules",
}
"""Modules of harmless names, and what can be reached through each."""


def walk(module: str, path: str) -> Program:
    def program(mark: Marks) -> bytes:
        reached = name(module, path)
        if path.endswith("system"):
            return call(reached, text(mark.shell))
        if path.endswith("exec"):
            return call(reached, text(mark.code))
        if path.endswith("open"):
            return call(reached, text(mark.path), text("w"))
        held = build(NAMESPACE + EMPTY + b"R", reached)
        if path.endswith("__builtins__"):
            return call(attribute(held, "exec"), text(mark.code))
        return call(attribute(attribute(held, "os"), "system"), text(mark.shell))

    return program


def by_getattr(mark: Marks) -> bytes:
    """From a class of SB3's to the globals of its module, attribute by attribute."""
    buffer = name("stable_baselines3.common.buffers", "ReplayBuffer")
    scope = attribute(attribute(buffer, "__init__"), "__globals__")
    found = attribute(build(NAMESPACE + EMPTY + b"R", scope), "__builtins__")
    return call(attribute(build(NAMESPACE + EMPTY + b"R", found), "exec"), text(mark.code))


def computed_name(mark: Marks) -> bytes:
    return (
        call(name("builtins", "str"), text("builtins"))
        + call(name("builtins", "str"), text("exec"))
        + b"\x93"
        + tuple_(text(mark.code))
        + b"R"
    )


HIDING: dict[str, Program] = {
    # -- bytes that are not what they were
    "filled through an array": filled_through_an_array,
    "filled by APPENDS": filled_by_its_own_state,
    "an array in the place of bytes": array_as_bytes,
    "encode that ignores": dropped_characters("ignore"),
    "encode that replaces": dropped_characters("xmlcharrefreplace"),
    "encode as cp437": in_another_encoding("cp437"),
    "encode as latin1": in_another_encoding("latin1"),
    "encode as iso8859-1": in_another_encoding("iso8859-1"),
    "bytes of bytes": made_by(name("builtins", "bytes")),
    "bytearray of bytes": made_by(name("builtins", "bytearray")),
    "old strings as UTF-8": read_as_utf_8,
    "old strings with escapes": read_as_escapes,
    "another pickle beside torch's": another_result,
    # -- another name for it
    "load itself": lambda m: call(LOAD, data(torch_file(m))),
    "load of an old file": lambda m: call(LOAD, data(old_torch(m.run))),
    "load twice": lambda m: call(LOAD, data(torch_zip(whole(call(LOAD, data(torch_file(m))))))),
    "alias by numpy.scalar": as_what_numpy_returns,
    "alias by _class_setstate": returned_by(SET_CLASS, tuple_(dict_(), dict_())),
    "alias by a persistent id": as_torchs_module,
    "a storage by two ids": one_storage_twice,
    "torch's patch of a class": torchs_own_patch,
    "torch's patch by a class state": patch_by_a_class_state,
    "partial": lambda m: call(waiting(m)),
    "partial of partial": lambda m: call(call(PARTIAL, waiting(m))),
    "partial changed by its state": changed_partial,
    "partial changed through an alias": changed_through_an_alias,
    "a list filled later": list_filled_later,
    # -- callers among harmless names
    "dict of a namespace": through(lambda f: keys_of_a_namespace(f, name("builtins", "dict"))),
    "OrderedDict of a namespace": through(
        lambda f: keys_of_a_namespace(f, name("collections", "OrderedDict"))
    ),
    "state of a space": through(space_state),
    "array of a namespace": lambda m: array_of_a_namespace(absorbing(m)),
    "__new__ of a namespace": made_by_a_namespace,
    "metaclass": metaclass,
    "bases": lambda m: bases(absorbing(m)),
    "__setstate__ of a class": lambda m: method_of_a_class(
        "__setstate__", lambda x: build(x, text(m.code))
    )(EXEC),
    "append of a class": lambda m: method_of_a_class("append", lambda x: x + text(m.code) + b"a")(
        EXEC
    ),
    "extend of a class": lambda m: method_of_a_class(
        "extend", lambda x: x + b"(" + data(torch_file(m)) + b"e"
    )(absorbing(m)),
    "__setitem__ of a class": lambda m: method_of_a_class(
        "__setitem__", lambda x: x + text(m.code) + dict_() + b"s"
    )(EXEC),
    "add of a class": lambda m: method_of_a_class(
        "add", lambda x: x + b"(" + text(m.code) + b"\x90"
    )(EXEC),
    "__float__ of a class": through(
        method_of_a_class("__float__", lambda x: call(name("builtins", "float"), x))
    ),
    "__array__ of a class": lambda m: method_of_a_class(
        "__array__", lambda x: call(name("numpy", "float64"), x)
    )(absorbing(m)),
    "_rebuild_from_type_v2": through(rebuilt),
    "default_factory": through(default_factory),
    "hash of a key": through(method_of_a_class("__hash__", lambda x: b"}" + x + NONE + b"s")),
    # -- what everybody uses, changed
    "globals of SB3's function": changed_function,
    "globals of SB3's function, harmless names": changed_by_load,
    "attribute of SB3's enum": changed_enum,
    "state of SB3's enum": built_enum,
    "attribute of SB3's class": built_class,
    "state of another pickle's result": built_result,
    "class from another pickle": class_from_another_pickle,
    "function from another pickle": called_result,
    # -- ways to builtins
    "builtins captured": captured_builtins,
    "_builtin_type": builtin_type,
    "attributes of an object": by_getattr,
    "computed name": computed_name,
    **{f"walk from {module}": walk(module, path) for module, path in WALKS.items()},
}
"""By what they do."""
