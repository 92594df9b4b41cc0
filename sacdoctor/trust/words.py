"""The words of code: those of arithmetic, and those by which code reaches beyond the program."""

from __future__ import annotations


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


BUILTIN_ARITHMETIC = _words("float int bool abs min max pow round sum len range")
"""Built-in functions that only compute, whatever they are given."""
ARITHMETIC = BUILTIN_ARITHMETIC | _words(
    "math cmath numpy np pi e inf exp log log2 log10 sqrt sin cos tan tanh floor ceil clip maximum "
    "minimum cosh sinh float32 float64"
)
"""These, modules of numbers, and what code takes from those."""

_BUILTINS = _words("exec eval compile open breakpoint __import__ __builtins__")
_REACHING = _words("__builtins__ __globals__ __subclasses__ __code__")
"""Attributes by which anything leads to everything."""
_IN_MODULE = {
    **dict.fromkeys(("subprocess", "ctypes", "pty", "marshal", "runpy", "webbrowser"), None),
    **dict.fromkeys(("posix", "nt", "_posixsubprocess", "_winapi", "codeop"), None),
    "os": _words(
        "system popen startfile fork forkpty posix_spawn posix_spawnp execl execle execlp execlpe "
        "execv execve execvp execvpe spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp "
        "spawnvpe kill killpg abort _exit remove unlink rmdir removedirs truncate chmod chown"
    ),
    "socket": _words("socket create_connection create_server socketpair fromfd"),
    "shutil": _words("rmtree move"),
    "importlib": _words("import_module __import__ reload util machinery"),
    "requests": _words("get post put patch delete head request Session"),
    "urllib": _words("request"),
    "pickle": _words("load loads Unpickler"),
    "cloudpickle": _words("load loads"),
    "dill": _words("load loads"),
    "sys": _words("modules settrace setprofile"),
}
"""What code of a module reaches out with; None for anything that it takes from there."""


def reaches_dangerous(path: str) -> bool:
    """Return whether a dotted path from a global name leads beyond the program.

    One that starts with a dot is an attribute of something that the code was given or made, which
    says nothing but for the few that lead from anything to everything.
    """
    root, *rest = path.split(".")
    if not _REACHING.isdisjoint(rest) or (not rest and root in _BUILTINS):
        return True
    if root in ("builtins", "__builtins__"):
        return bool(rest) and rest[0] in _BUILTINS
    if not rest or root not in _IN_MODULE:
        return False
    listed = _IN_MODULE[root]
    return listed is None or rest[0] in listed
