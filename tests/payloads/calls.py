"""Functions of Python and of what comes with SB3 that run code, commands, or reach files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.payloads.assembly import (
    EMPTY,
    NONE,
    attribute,
    build,
    call,
    data,
    dict_,
    list_,
    name,
    new,
    number,
    text,
    tuple_,
    whole,
)


@dataclass(frozen=True)
class Marks:
    """Ways to make the file `path`, as arguments of those who run them.

    Some add an ending of their own to it.
    """

    path: str

    @property
    def is_there(self) -> bool:
        return any(self._files())

    def remove(self) -> None:
        for path in self._files():
            path.rmdir() if path.is_dir() else path.unlink()

    def _files(self) -> list[Path]:
        path = Path(self.path)
        return [*path.parent.glob(f"{path.name}*")]

    @property
    def code(self) -> str:
        return f"open({self.path!r}, 'w').close()"

    @property
    def shell(self) -> str:
        return f": > '{self.path}'"

    @property
    def run(self) -> bytes:
        """The plainest program that makes it."""
        return call(name("builtins", "exec"), text(self.code))

    @property
    def letters(self) -> bytes:
        """The same in opcodes that are letters, as protocol 0 has them."""
        return f"cbuiltins\nexec\n(V{self.code}\ntR".encode()

    @property
    def pickle(self) -> bytes:
        return whole(self.run)


Program = Callable[[Marks], bytes]


def _of_code(module: str, qualname: str, *before: bytes) -> Program:
    return lambda mark: call(name(module, qualname), *before, text(mark.code))


def _of_shell(module: str, qualname: str, *before: bytes) -> Program:
    return lambda mark: call(name(module, qualname), *before, text(mark.shell))


def _of_argv(module: str, qualname: str, *after: bytes) -> Program:
    return lambda mark: call(name(module, qualname), list_(text("touch"), text(mark.path)), *after)


def _of_path(module: str, qualname: str, *after: bytes) -> Program:
    return lambda mark: call(name(module, qualname), text(mark.path), *after)


def _method(obj: bytes, method: str, *args: bytes) -> bytes:
    return call(attribute(obj, method), *args)


_WRITE = text("w")
CALLS: dict[str, Program] = {
    # -- code
    "exec": _of_code("builtins", "exec"),
    "eval": _of_code("builtins", "eval"),
    "Python 2 eval": lambda m: b"\x80\x02c__builtin__\neval\n" + tuple_(text(m.code)) + b"R",
    "timeit": lambda m: call(name("timeit", "timeit"), text("0"), text(m.code)),
    "profile": _of_code("profile", "run"),
    "cProfile": _of_code("cProfile", "run"),
    "bdb": lambda m: _method(call(name("bdb", "Bdb")), "run", text(m.code)),
    "trace": lambda m: _method(
        call(name("trace", "Trace"), number(0), number(0)), "run", text(m.code)
    ),
    "doctest": lambda m: call(
        name("doctest", "run_docstring_examples"),
        text(f">>> {m.code}"),
        dict_(),
    ),
    "InteractiveInterpreter": lambda m: _method(
        call(name("code", "InteractiveInterpreter")), "runsource", text(m.code)
    ),
    "runstring": lambda m: call(
        name("numpy.testing._private.utils", "runstring"), text(m.code), dict_()
    ),
    "myeval": _of_code("numpy.f2py.crackfortran", "myeval"),
    "torch's own exec": lambda m: call(
        name("torch.fx.graph_module", "_exec_with_source"), text(m.code), dict_()
    ),
    "ForwardRef": lambda m: _method(
        call(name("typing", "ForwardRef"), text(m.code)),
        "_evaluate",
        dict_(),
        dict_(),
        call(name("builtins", "frozenset")),
    ),
    "dataclasses": lambda m: call(
        call(name("dataclasses", "_create_fn"), text("f"), list_(), list_(text(m.code)))
    ),
    # -- commands
    "os.system": _of_shell("os", "system"),
    "posix.system": _of_shell("posix", "system"),
    "popen": lambda m: _method(call(name("os", "popen"), text(m.shell)), "read"),
    "check_output": _of_argv("subprocess", "check_output"),
    "subprocess.call": _of_argv("subprocess", "call"),
    "getoutput": _of_shell("subprocess", "getoutput"),
    "spawn": _of_argv("distutils.spawn", "spawn"),
    "posix_spawn": lambda m: call(
        name("os", "waitpid"),
        call(
            name("posix", "posix_spawn"),
            text("/bin/sh"),
            list_(text("sh"), text("-c"), text(m.shell)),
            dict_(),
        ),
        number(0),
    ),
    "pty": lambda m: call(name("pty", "spawn"), list_(text("touch"), text(m.path))),
    "pydoc": lambda m: call(name("pydoc", "pipepager"), text(""), text(m.shell)),
    "collect_env": _of_shell("torch.utils.collect_env", "run"),
    # -- files
    "open": _of_path("builtins", "open", _WRITE),
    "io.open": _of_path("io", "open", _WRITE),
    "FileIO": _of_path("_io", "FileIO", _WRITE),
    "os.mkdir": _of_path("os", "mkdir"),
    "Path.touch": lambda m: call(
        name("pathlib", "Path.touch"), call(name("pathlib", "PosixPath"), text(m.path))
    ),
    "shutil": lambda m: call(name("shutil", "copyfile"), text("/dev/null"), text(m.path)),
    "numpy.save": lambda m: call(name("numpy", "savetxt"), text(m.path), list_(number(1))),
    "tofile": lambda m: _method(
        call(name("numpy", "array"), list_(number(1))), "tofile", text(m.path)
    ),
    "memmap": lambda m: call(
        name("numpy", "memmap"), text(m.path), text("u1"), text("w+"), number(0), number(4)
    ),
    "torch.save": lambda m: call(name("torch", "save"), NONE, text(m.path)),
    "from_file": lambda m: call(name("torch", "from_file"), text(m.path), b"\x88", number(4)),
    "storage from_file": lambda m: call(
        name("torch", "UntypedStorage.from_file"), text(m.path), b"\x88", number(4)
    ),
    "logging": lambda m: call(name("logging", "FileHandler"), text(m.path)),
    "sqlite": lambda m: call(name("sqlite3", "connect"), text(m.path)),
    "zipfile": lambda m: call(name("zipfile", "ZipFile"), text(m.path), _WRITE),
    "dbm": lambda m: call(name("dbm.dumb", "open"), text(m.path), text("n")),
    "SB3's logger": lambda m: call(
        name("stable_baselines3.common.logger", "CSVOutputFormat"), text(m.path)
    ),
    "SB3's pickles": lambda m: call(
        name("stable_baselines3.common.save_util", "save_to_pkl"),
        call(name("pathlib", "PosixPath"), text(m.path)),
        NONE,
    ),
    # -- pickles that nobody has looked into
    "pickle.loads": lambda m: call(name("pickle", "loads"), data(m.pickle)),
    "_pickle.loads": lambda m: call(name("_pickle", "loads"), data(m.pickle)),
    "cloudpickle.loads": lambda m: call(name("cloudpickle", "loads"), data(m.pickle)),
    "Unpickler": lambda m: _method(
        call(name("_pickle", "Unpickler"), call(name("io", "BytesIO"), data(m.pickle))), "load"
    ),
    "ForkingPickler": lambda m: call(
        name("multiprocessing.reduction", "ForkingPickler.loads"), data(m.pickle)
    ),
    # -- callers and threads
    "partial of exec": lambda m: call(
        call(name("functools", "partial"), name("builtins", "exec"), text(m.code))
    ),
    "reduce": lambda m: call(
        name("functools", "reduce"),
        name("builtins", "exec"),
        list_(text(m.code), dict_()),
    ),
    "map": lambda m: call(
        name("builtins", "list"),
        call(name("builtins", "map"), name("builtins", "exec"), list_(text(m.code))),
    ),
    "filter in a tuple": lambda m: call(
        name("builtins", "tuple"),
        call(name("builtins", "filter"), name("builtins", "exec"), list_(text(m.code))),
    ),
    "max by a key": lambda m: call(
        name("builtins", "set"),
        call(name("itertools", "starmap"), name("builtins", "exec"), list_(tuple_(text(m.code)))),
    ),
    "operator.call": lambda m: (
        call(name("_operator", "methodcaller"), text("touch"))
        + tuple_(call(name("pathlib", "PosixPath"), text(m.path)))
        + b"R"
    ),
    "thread": lambda m: _method(
        build(
            call(
                name("threading", "Timer"),
                number(0),
                name("builtins", "exec"),
                tuple_(text(m.code)),
            ),
            dict_(),
        ),
        "run",
    ),
    "weakref": lambda m: _method(
        call(
            name("weakref", "finalize"),
            call(name("collections", "OrderedDict")),
            name("builtins", "exec"),
            text(m.code),
        ),
        "__call__",
    ),
    "atexit": lambda m: (
        call(name("atexit", "register"), name("builtins", "exec"), text(m.code))
        + b"0"
        + call(name("atexit", "_run_exitfuncs"))
    ),
    "__import__": lambda m: _method(
        call(name("builtins", "__import__"), text("os")), "system", text(m.shell)
    ),
    "import_module": lambda m: _method(
        call(name("importlib", "import_module"), text("os")), "system", text(m.shell)
    ),
    "subimport": lambda m: _method(
        call(name("cloudpickle.cloudpickle", "subimport"), text("os")), "system", text(m.shell)
    ),
    "INST": lambda m: b"(" + text(m.code) + b"ibuiltins\nexec\n",
    "OBJ": lambda m: b"(" + name("builtins", "exec") + text(m.code) + b"o",
    "an object's method": lambda m: (
        call(
            name("builtins", "getattr"),
            call(name("pathlib", "PosixPath"), text(m.path)),
            text("touch"),
        )
        + EMPTY
        + b"R"
    ),
    "pathlib by NEWOBJ": lambda m: call(
        name("pathlib", "PosixPath.write_text"),
        new(name("pathlib", "PosixPath"), text(m.path)),
        text(""),
    ),
}
"""By what they are called; each program makes the file."""
