"""Which classes a file may have called while a model is made from it.

SB3 calls the policy, the features extractor, the activation and the optimizer that a checkpoint
names. Classes of SB3, sb3-contrib and PyTorch are those that the gate knows, too, and have to be of
the kind that SB3 expects there; anybody else's are imported only from modules that the caller
trusts by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from sacdoctor.errors import Unloadable
from sacdoctor.pickles import Made, Name, class_of
from sacdoctor.trust import role_of

_OURS = "sacdoctor.training"


class Classes:
    """Finds classes by their names. `trust` are modules of the user's, with all below them."""

    def __init__(self, trust: Iterable[str] = ()) -> None:
        self._trusted = tuple(trust)

    def find(self, name: Name, kind: type) -> type:
        """Return the class called `name`, which is a `kind`.

        Raises `Unloadable` for a class of a module that is not trusted, one that is not there, and
        whatever is no `kind`.
        """
        is_known = role_of(name.module, name.qualname) is not None
        if not is_known and not _is_below(name.module, (_OURS, *self._trusted)):
            raise Unloadable(
                f"{name} is code of somebody's own: where you trust it, say so with "
                f"trust=[{name.module!r}], or --trust {name.module}"
            )
        try:
            found = import_module(name.module)
            for part in name.qualname.split("."):
                found = vars(found)[part]
        except (ImportError, KeyError, TypeError) as error:
            raise Unloadable(f"{name} is not there ({error})") from None
        if not (isinstance(found, type) and issubclass(found, kind)):
            raise Unloadable(f"{name} is no {kind.__name__}")
        return found


def name_of(thing: Any) -> Name:
    """Return the name of a class that a pickle refers to or holds whole, or of an object's class.

    Raises `Unloadable` where nothing names one.
    """
    if isinstance(thing, Name):
        return thing
    dotted = class_of(thing) if isinstance(thing, Made) else None
    if dotted is None:
        raise Unloadable("something else stands where a class is needed")
    module, _, qualname = dotted.rpartition(".")
    return Name(module, qualname)


def _is_below(module: str, homes: Iterable[str]) -> bool:
    return any(module == home or module.startswith(f"{home}.") for home in homes)
