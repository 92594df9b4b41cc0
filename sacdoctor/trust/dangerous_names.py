"""Which unknown names are known to be dangerous: those on picklescan's list, and on ours."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator

from sacdoctor.pickles import Name


def _of(names: str) -> frozenset[str]:
    return frozenset(names.split())


_FILE_METHODS = (
    "chmod hardlink_to link_to mkdir open rename replace rmdir symlink_to touch unlink "
    "write_bytes write_text"
)
_PATH_METHODS = " ".join(
    f"{cls}.{method}"
    for cls in ("Path", "PosixPath", "WindowsPath")
    for method in _of(_FILE_METHODS)
)
ALSO_DANGEROUS: dict[str, frozenset[str]] = {
    module: _of(names)
    for module, names in {
        # They reach any module, any attribute, or call what they are given.
        "builtins": "__import__ input setattr delattr globals locals vars map filter",
        "importlib": "*",
        "importlib._bootstrap": "*",
        "functools": "reduce partialmethod",
        "_functools": "reduce",
        "itertools": "starmap",
        "operator": "call",
        "_operator": "call",
        "_frozen_importlib": "*",
        "_frozen_importlib_external": "*",
        "_imp": "*",
        "zipimport": "*",
        # They make code, or read a pickle that nobody has looked into.
        "marshal": "*",
        "codeop": "*",
        "cloudpickle": "load loads",
        "typing": "ForwardRef._evaluate ForwardRef.evaluate",
        "annotationlib": "ForwardRef._evaluate ForwardRef.evaluate",
        "dill": "*",
        "dill._dill": "*",
        "joblib": "*",
        "shelve": "*",
        "jsonpickle": "*",
        "torch.hub": "*",
        "torch.utils.cpp_extension": "*",
        "stable_baselines3.common.save_util": "*",
        # They start processes and threads, or write files.
        "_ctypes": "*",
        "_posixsubprocess": "*",
        "distutils.spawn": "*",
        "multiprocessing": "*",
        "concurrent.futures": "*",
        "threading": "*",
        "_thread": "start_new_thread start_new start_joinable_thread interrupt_main",
        "signal": "*",
        "atexit": "*",
        "tempfile": "*",
        "pathlib": _PATH_METHODS,
        "pathlib._local": _PATH_METHODS,
        "io": "open FileIO",
        "_io": "open",
        "codecs": "open",
        "fileinput": "*",
        "zipfile": "ZipFile PyZipFile",
        "sqlite3": "connect Connection",
        "_sqlite3": "connect Connection",
        "ftplib": "*",
        "smtplib": "*",
        "telnetlib": "*",
        "http.server": "*",
    }.items()
}
"""Dangerous names that picklescan 1.0 does not list; `*` stands for all of a module."""

DANGEROUS_IN_PACKAGE: dict[str, frozenset[str]] = {
    package: _of(names)
    for package, names in {
        # They run texts as code.
        "sympy": "sympify parse_expr lambdify",
        "pandas": "eval read_pickle to_pickle",
        "PIL": "eval unsafe_eval",
        # They read a pickle, import what a text names, or read and write files.
        "numpy": (
            "load save savez savez_compressed loadtxt savetxt genfromtxt fromfile memmap "
            "open_memmap tofile dump runstring"
        ),
        "torch": "load _exec_with_source _forward_from_src",
        "yaml": "unsafe_load unsafe_load_all UnsafeLoader",
        "gym": "make load load_env_creator",
        "gymnasium": "make make_vec load_env_creator",
        "stable_baselines3": "load",
        "sb3_contrib": "load",
    }.items()
}
"""Dangerous functions and methods of packages, whichever of their modules they are taken from."""

LIBRARIES_IN_PICKLESCAN = (
    *("__builtin__", "_pyrepl", "aiohttp", "cloudpickle", "commands", "distutils", "httplib"),
    *("lib2to3", "numpy", "pip", "requests", "test", "torch"),
)
"""Packages outside the standard library (of some Python) of which picklescan's list knows names.
It is asked about these and the standard library alone: importing it takes 20 ms, and a policy of
the user's is no reason to. A test holds this to be all of them."""
_MAX_PARTS = 24
"""Dots in a name; real ones have under ten. Each part of a longer one would have to be judged."""


def dangerous(names: Iterable[Name]) -> frozenset[Name]:
    """Return those of `names` that are known to be dangerous, or reach into what is not theirs.

    An attribute path through a harmless module (`torch.hub`'s `os.system`, `numpy`'s
    `__builtins__`) is judged by every part of it.
    """
    found: set[Name] = set()
    readings: dict[Name, set[Name]] = {}
    for name in names:
        parts = name.qualname.split(".")
        if len(parts) + name.module.count(".") > _MAX_PARTS or any(map(_is_special, parts)):
            found.add(name)
        elif not _is_plain(name):
            found.add(name)  # no module of anybody's is called so; something is being hidden
        else:
            readings[name] = set(_readings(name))
    listed = {r for every in readings.values() for r in every if _is_listed(r)}
    listed |= _in_picklescan({r for every in readings.values() for r in every if _may_be_in(r)})
    return frozenset(found | {name for name, every in readings.items() if every & listed})


def _readings(name: Name) -> Iterator[Name]:
    """Yield what `name` may come to: as it stands, and through each module on its path."""
    yield name
    parts = name.qualname.split(".")
    whole = [*name.module.split("."), *parts]
    for start in (0, *range(len(whole) - len(parts), len(whole) - 1)):
        for end in range(start + 1, len(whole)):
            yield Name(".".join(whole[start:end]), ".".join(whole[end:]))


def _is_special(part: str) -> bool:
    return part.startswith("__") and part.endswith("__") and len(part) > 4


def _is_plain(name: Name) -> bool:
    """Return whether the name is one that Python code could have written."""
    parts = f"{name.module}.{name.qualname}".rstrip(".").split(".")
    return all(part.isidentifier() for part in parts)


def _is_listed(name: Name) -> bool:
    listed = ALSO_DANGEROUS.get(name.module, ())
    of_package = DANGEROUS_IN_PACKAGE.get(name.module.partition(".")[0], ())
    last = name.qualname.rpartition(".")[2]
    return "*" in listed or name.qualname in listed or last in of_package


def _may_be_in(name: Name) -> bool:
    package = name.module.partition(".")[0]
    return package in sys.stdlib_module_names or package in LIBRARIES_IN_PICKLESCAN


def _in_picklescan(names: set[Name]) -> set[Name]:
    """Return those that picklescan calls dangerous, asked with a pickle that refers to each."""
    if not names:
        return set()
    from picklescan.scanner import SafetyLevel, scan_pickle_bytes

    # Its list is ASCII, and a name with `unknown` in it is its own word for one it cannot read.
    asked = {
        (n.module.replace("unknown", "known"), n.qualname.replace("unknown", "known")): n
        for n in names
        if str(n).isascii()
    }
    lines = "".join(f"c{module}\n{qualname}\n0" for module, qualname in asked)
    result = scan_pickle_bytes(io.BytesIO(f"{lines}N.".encode()), "a checkpoint")
    return {
        asked[found.module, found.name]
        for found in result.globals
        if found.safety is SafetyLevel.Dangerous
    }
