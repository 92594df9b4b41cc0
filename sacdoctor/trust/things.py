"""What stands on the stack of the proving walk: plain values, and what proven calls made of them.

A value is followed exactly for as long as nobody else holds it. What was given away, to a call or
as a state, was read there as it was then: it is sealed, and to change it afterwards, through
another place that recalls it, is not proven harmless.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct

from sacdoctor.pickles import Name


class Role(StrEnum):
    """What a known name stands for, or what calling it makes."""

    TYPE = "a type of Python's or numpy's own"
    CONSTANT = "a type of torch's elements"
    PLACEHOLDER = "the schedule of a policy that is saved alone"
    POLICY = "a policy"
    EXTRACTOR = "a features extractor"
    ACTIVATION = "an activation"
    OPTIMIZER = "an optimizer"
    BUFFER = "a buffer"
    SPACE = "a space"
    NOISE = "an action noise"
    STATISTICS = "running statistics"
    SCHEDULE = "a schedule"
    ENUM = "a member of an enumeration"
    GENERATOR = "a random generator"
    STORAGE = "the bytes of tensors"
    MATHS = "a function of numbers"
    METHOD = "part of the classes that cloudpickle writes"
    FUNCTION = "a function that a form below calls"
    FOLLOWED = "a function that leads to another name"
    MAKER = "a function that puts a class together"
    # -- made
    VALUE = "a value"
    NAMESPACE = "a namespace"
    DTYPE = "an element type"
    ARRAY = "an array"
    TENSOR = "a tensor"
    ORDERED = "an ordered dict"
    DEQUE = "a deque"
    CODE = "code"
    CODE_FUNCTION = "a function"
    CELL = "a cell"
    MODULE = "a module"
    PARTIAL = "a partial call"
    SPOILT = "what was changed in an unknown way, and is named"


CLASSES = frozenset(
    (
        *(Role.TYPE, Role.CONSTANT, Role.POLICY, Role.EXTRACTOR, Role.ACTIVATION),
        *(Role.OPTIMIZER, Role.BUFFER, Role.SPACE, Role.PLACEHOLDER),
    )
)
"""Names that may lie about as values: calling them with anything only makes a value."""
DATA = frozenset(
    (
        *(Role.VALUE, Role.DTYPE, Role.ARRAY, Role.TENSOR, Role.ORDERED, Role.DEQUE, Role.ENUM),
        *(Role.SPACE, Role.NOISE, Role.STATISTICS, Role.SCHEDULE, Role.GENERATOR, Role.BUFFER),
        *(Role.STORAGE, Role.CODE, Role.PARTIAL, Role.NAMESPACE, Role.SPOILT),
    )
)
"""What was made and may lie about: it does nothing by itself."""


class Thing(Struct, eq=False):
    """What a proven call made: `name` was called, `detail` is what its later use depends on.

    `is_sealed`: somebody else holds it, and nothing may change it any more. `depth`: how many
    things stand in one another in it with no container of Python's own between them.
    """

    role: Role
    name: Name
    detail: Any = None
    is_sealed: bool = False
    has_state: bool = False
    depth: int = 0


class Key(Struct, eq=False):
    """A key of a dict that takes long to hash, or no hash at all here: it stands for itself."""

    value: Any


class OpenList(list[Any]):
    """A list that this pickle alone holds."""

    __slots__ = ()


class SealedList(list[Any]):
    """One that it has given away."""

    __slots__ = ()


class OpenDict(dict[Any, Any]):
    """A dict that this pickle alone holds."""

    __slots__ = ()


class SealedDict(dict[Any, Any]):
    """One that it has given away."""

    __slots__ = ()


class SharedGlobals(dict[Any, Any]):
    """One that became the globals of functions, and holds Python's built-in functions."""

    __slots__ = ()


class OpenSet(list[Any]):
    """The items of a set, which may have no hash here."""

    __slots__ = ()


class SealedSet(list[Any]):
    """Those of one that it has given away."""

    __slots__ = ()


class FrozenItems(tuple[Any, ...]):
    """The items of a frozenset."""

    __slots__ = ()


SEALED: dict[type, type] = {OpenList: SealedList, OpenDict: SealedDict, OpenSet: SealedSet}
"""What an open container becomes when it is given away."""


def seal(container: Any) -> None:
    """Note that somebody else holds an open container from now on."""
    container.__class__ = SEALED[type(container)]
