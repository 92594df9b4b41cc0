"""Pickles that do harm when they are loaded: each leaves a mark, so that a test can see it fire."""

from __future__ import annotations

import base64
import functools
import json
import operator
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle


class Calls:
    """An object whose pickle calls `function` with `args`."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.parts = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.parts


def touching(mark: Path) -> dict[str, tuple[Any, str]]:
    """Objects whose pickles make the file `mark`, with the name that is to be reported."""
    code = f"open({str(mark)!r}, 'w').close()"
    shell = f"touch '{mark}'"
    return {
        "system": (Calls(os.system, shell), f"{os.name}.system"),
        "exec": (Calls(exec, code), "builtins.exec"),
        "eval": (Calls(eval, code), "builtins.eval"),
        "subprocess": (Calls(subprocess.check_output, ["touch", str(mark)]), "subprocess."),
        "nested": (Calls(pickle.loads, pickle.dumps(Calls(os.system, shell))), ".system"),
        "partial": (Calls(functools.partial(os.system, shell)), ".system"),
        "inside": ({"a": [(1, {"b": Calls(os.system, shell)})]}, ".system"),
        "caller": (Calls(operator.methodcaller("touch"), mark), "methodcaller"),
    }


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def by_hand(command: str) -> dict[str, tuple[bytes, str]]:
    """Pickles in opcodes that `pickle.dumps` does not write, with what is to be reported."""
    run = text(command)
    system = b"\x93" + run + b"\x85R."
    joined = b"cbuiltins\nstr\n" + text("os") + b"\x85R"  # `str("os")` is a text, but computed
    get = b"cbuiltins\ngetattr\n"
    imported = b"cbuiltins\n__import__\n" + text("os") + b"\x85R"
    code = text(f"__import__('os').system({command!r})")
    return {
        "INST": (b"(" + b"S'%s'\n" % command.encode() + b"ios\nsystem\n.", "os.system"),
        "OBJ": (b"(cos\nsystem\n" + run + b"o.", "os.system"),
        "Python 2": (b"c__builtin__\neval\n" + code + b"\x85R.", "builtins.eval"),
        "computed module": (b"\x80\x04" + joined + text("system") + system, "puts together"),
        "getattr": (get + imported + text("system") + b"\x86R" + run + b"\x85R.", "os.system"),
        "path": (b"\x80\x04" + text("torch.hub") + text("os.system") + system, "os.system"),
        "builtins": (
            b"\x80\x04" + text("numpy") + text("__builtins__") + b"\x93.",
            "numpy.__builtins__",
        ),
        "getattr of getattr": (
            get
            + get
            + b"cnumpy\ndtype\n"
            + text("__base__")
            + b"\x86R"
            + text("__subclasses__")
            + b"\x86R)R.",
            "numpy.dtype.__base__",
        ),
        "before the damage": (b"cos\nsystem\n" + run + b"\x85R\xff", "os.system"),
        "behind a state": (
            b"cnumpy\ndtype\n}" + text("__builtins__") + b"NsbcosX\nsystem\n.",
            "changes numpy.dtype",
        ),
        "changed partial": (
            b"cfunctools\npartial\ncbuiltins\nfloat\n\x85R(cos\nsystem\n(" + run + b"t}Ntb)R.",
            "os.system",
        ),
    }


def touch(path: str) -> int:
    """A function that no list knows."""
    Path(path).touch()
    return 0


class Touches:
    """A class of a user's own: its objects make the file that they are given."""

    def __setstate__(self, path: str) -> None:
        touch(path)

    def append(self, path: str) -> None:
        touch(path)


class TouchesAsItIsMade:
    """One whose `__new__` does."""

    def __new__(cls, path: str) -> TouchesAsItIsMade:
        touch(path)
        return super().__new__(cls)


def indirect(path: str) -> dict[str, bytes]:
    """Pickles that call `touch` without naming it as what they call."""

    def name(module: str, qualname: str) -> bytes:
        return f"c{module}\n{qualname}\n".encode()

    here = __name__
    function, run = name(here, "touch"), text(path)
    partial = name("functools", "partial") + function + b"\x85R"
    cloudpickle_ = "cloudpickle.cloudpickle"
    methods = b"}" + text("append") + partial + b"s"
    pickles = {
        "generator": name("numpy.random._pickle", "__generator_ctor") + run + function + b"\x86R",
        "tensor": name("torch._tensor", "_rebuild_from_type_v2")
        + b"("
        + function
        + name("builtins", "tuple")
        + run
        + b"\x85NtR",
        "computed partial": name("functools", "partial")
        + name("builtins", "float")
        + b"\x85R"
        + name("builtins", "tuple")
        + b"]("
        + function
        + run
        + b"\x85}Ne\x85Rb)R",
        "type": name("builtins", "type") + text("X") + b")" + methods + b"\x87R)\x81" + run + b"a",
        "namespace": name("types", "SimpleNamespace") + b")R" + methods + b"b" + run + b"a",
        "class state": name(cloudpickle_, "_class_setstate")
        + name(cloudpickle_, "_make_skeleton_class")
        + b"("
        + name("builtins", "type")
        + text("X")
        + b")}NNtR("
        + methods
        + b"}t\x86R)\x81"
        + run
        + b"a",
        "filled after the call": name("types", "SimpleNamespace")
        + b")R}q\x00b0h\x00"
        + text("append")
        + function
        + b"s0"
        + name("types", "SimpleNamespace")
        + b")Rh\x00b"
        + run
        + b"a",
        "__setstate__": name(here, "Touches") + b")\x81" + run + b"b",
        "append": name(here, "Touches") + b")\x81" + run + b"a",
        "__new__": name(here, "TouchesAsItIsMade") + run + b"\x85\x81",
        "_reconstructor": name("copyreg", "_reconstructor")
        + name(here, "Touches")
        + name("builtins", "object")
        + b"N\x87R"
        + run
        + b"b",
    }
    return {label: b"\x80\x02" + data + b"." for label, data in pickles.items()}


def serialized(value: Any) -> dict[str, str]:
    """What SB3 writes into `data` for something that JSON cannot hold."""
    data = value if isinstance(value, bytes) else cloudpickle.dumps(value)
    return {":type:": str(type(value)), ":serialized:": base64.b64encode(data).decode()}


def with_settings(members: dict[str, bytes], **settings: Any) -> dict[str, bytes]:
    """The members of a checkpoint with these settings in its `data`."""
    return {**members, "data": json.dumps({**json.loads(members["data"]), **settings}).encode()}
