"""Replay buffers of people's own classes: arrays with a row per step, or lists of transitions.

Which attribute is what, its name says (`fields`). Of tuples and named tuples, whose fields have no
names in a pickle, the order does: observation, action, reward, next observation, done; or with the
next observation before the reward, as in PyTorch's tutorial, where shapes show that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.files import pin
from sacdoctor.pickles import (
    Made,
    PickledArray,
    PickledDType,
    Places,
    attributes,
    class_of,
    walk,
)
from sacdoctor.replay.buffer import ReplayBuffer
from sacdoctor.replay.fields import (
    ACTIONS,
    DONES,
    NEXT,
    OBSERVATIONS,
    PARTED,
    REWARDS,
    buffer_of,
    fields_among,
    lacking,
    quoted,
)
from sacdoctor.replay.filling import COUNTERS, Filling
from sacdoctor.replay.pickle_origin import PickleOrigin, Replacement, unsuited
from sacdoctor.replay.shortening import pieces_of, shortened

_FEWEST = 4
"""Values of a tuple that is a transition."""
_LONG = 64
"""Items from which on a list is one of transitions, or a column of them, and not looked into."""


class _Found(Struct, frozen=True):
    """Where a buffer's fields are: `columns` by field, the names of these in the pickle.

    `holder` has them, or is the list of transitions; `around` is what it stands in.
    """

    holder: Any
    around: Any
    columns: Mapping[str, Any]
    names: Mapping[str, str]


class _OwnOrigin(PickleOrigin):
    """The pickle of a buffer of somebody's own."""

    filled: Filling

    def __init__(self, data: memoryview, places: Places, found: _Found) -> None:
        super().__init__(data, places)
        self.found = found
        self.fixed = tuple(name for thing in self._things() for name in _named(thing))

    def numbers(self) -> dict[str, int | bool]:
        """Return the counters beside the columns, or around what holds them."""
        numbers: dict[str, int | bool] = {}
        for thing in self._things():
            for name, value in _named(thing).items():
                if name in COUNTERS and isinstance(value, int):
                    numbers.setdefault(name, value)
        return numbers

    def replacements(self, buffer: ReplayBuffer, rows: int) -> Iterator[Replacement]:
        for name, new in self.filled.after(buffer.size - rows).items():
            yield self.number(name, self._owners(), new)
        places: set[int] = set()
        for name, value in self._columns(buffer):
            if id(value) in places:
                continue
            places.add(id(value))
            if isinstance(value, PickledArray):
                yield from self._array(name, value, buffer, rows)
            else:
                yield from self._list(name, value, buffer, rows)

    def _things(self) -> tuple[Any, ...]:
        return self.found.holder, self.found.around

    def _owners(self) -> Iterator[Any]:
        """Yield the dicts, and what stands for them, whose values have places."""
        for thing in self._things():
            yield thing
            for state in thing.states if isinstance(thing, Made) else ():
                yield from state if isinstance(state, tuple) else (state,)

    def _columns(self, buffer: ReplayBuffer) -> Iterator[tuple[str, Any]]:
        """Yield whatever has a row per transition: fields, and others beside them.

        Raises `UnsupportedCheckpoint` where something does that cannot be cut.
        """
        if _items(self.found.holder) is not None:
            yield "transitions", self.found.holder
        for field, name in self.found.names.items():
            yield name, self.found.columns[field]
        for thing in self._things():
            for name, value in _named(thing).items():
                if "tree" in name.lower() and isinstance(value, (Made, PickledArray, list)):
                    raise unsuited(f"its {name!r} keep priorities by row")
                if _length(value) == buffer.capacity:
                    yield name, value

    def _array(
        self, name: str, value: PickledArray, buffer: ReplayBuffer, rows: int
    ) -> Iterator[Replacement]:
        if value.objects is not None:
            raise unsuited(f"its {name!r} hold Python objects, one per step")
        array = value.view()
        is_observed = value in [self.found.columns.get(name) for name in buffer.observation_names]
        has_next = len(array) > buffer.capacity or not buffer.full
        behind = int(buffer.optimize_memory_usage and is_observed and has_next)
        views = shortened(buffer, array, rows, behind)
        count = sum(map(len, views))
        free = len(array) - count if self.filled.counters else 0
        yield from self.rows_of(name, value, count + free, pieces_of(buffer, views, free))

    def _list(
        self, name: str, value: Any, buffer: ReplayBuffer, rows: int
    ) -> Iterator[Replacement]:
        items = self.places.items_of(value)
        if items is None or len(items.starts) != len(_items(value) or ()):
            raise unsuited(f"its {name} are not appended one by one")
        if buffer.full and buffer.pos:
            raise unsuited("its oldest transition stands in the middle of a list")
        for at in range(rows):
            yield Replacement(*items.drop(at), (b"0",))


def own_buffer(data: memoryview, made: Any, places: Places) -> ReplayBuffer | None:
    """Return the buffer that a pickle describes, None where it holds none that is known.

    Raises `CorruptCheckpoint` and `UnsupportedCheckpoint` as `fields.buffer_of` does.
    """
    found = _found(made)
    if found is None:
        return None
    origin = _OwnOrigin(data, places, found)
    columns, are_lists = {}, False
    for field, value in found.columns.items():
        name = found.names.get(field, field)
        if isinstance(value, PickledArray):
            if value.objects is not None:
                raise UnsupportedCheckpoint(
                    f"its {name!r} hold Python objects; only numbers are read here"
                )
            columns[field] = value.view()
        else:
            if not are_lists:
                pin(data)  # single arrays take a hundred times their bytes as they are
            are_lists = True
            columns[field] = _stacked(name, _items(value) or value)
    names = {field: found.names.get(field, field) for field in columns}
    whole = made if isinstance(made, Made) else found.holder
    class_name = (class_of(whole) if isinstance(whole, Made) else None) or type(whole).__name__
    buffer, origin.filled = buffer_of(
        class_name.rpartition(".")[2],
        columns,
        names,
        origin.numbers(),
        origin,
        are_lists=are_lists,
    )
    return buffer


def names_in(made: Any) -> str:
    """Return what a pickle holds by name, for the sentence that no buffer is found in it."""
    return quoted(_named(made))


# -- finding -----------------------------------------------------------------------------------


def _found(made: Any) -> _Found | None:
    """Return the first buffer, level by level."""
    parents: dict[tuple[Any, ...], Any] = {}
    for path, thing in walk(made, lambda container: len(_items(container) or ()) < _LONG):
        if not isinstance(thing, (dict, list, tuple, Made)):
            continue
        parents[path] = thing
        around = parents.get(path[:-1]) if path else None
        fields = _fields_of(thing)
        if not lacking(fields):
            named = _flat(thing)
            columns = {field: named[name] for field, name in fields.items()}
            return _Found(thing, around, columns, fields)
        columns = _transitions(_items(thing) or ())
        if not lacking(columns):
            return _Found(thing, around, columns, {})
    return None


def _fields_of(thing: Any) -> dict[str, str]:
    """Return which of a thing's attributes are which field, of those that may be a column."""
    return fields_among(name for name, value in _flat(thing).items() if _is_column(value))


def _flat(thing: Any) -> dict[str, Any]:
    """Return attributes by name, those of a dict of observations as `observations.KEY`."""
    found: dict[str, Any] = {}
    for name, value in _named(thing).items():
        parts = _named(value) if not isinstance(value, PickledArray) else {}
        if parts and fields_among((name,)).keys() & {*PARTED}:
            found |= {f"{name}.{part}": column for part, column in parts.items()}
        else:
            found[name] = value
    return found


def _named(thing: Any) -> dict[str, Any]:
    """Return what an object or dict holds by name."""
    pairs: dict[Any, Any] = {}
    if isinstance(thing, dict):
        pairs = thing
    elif isinstance(thing, Made):
        pairs = {**attributes(thing), **{k: v for k, v in thing.pairs if isinstance(k, str)}}
    return {name: value for name, value in pairs.items() if isinstance(name, str)}


def _items(thing: Any) -> Sequence[Any] | None:
    """Return the items of a list, of a tuple or of what stands for one, such as a deque."""
    if isinstance(thing, (list, tuple)):
        return thing
    return thing.items if isinstance(thing, Made) and thing.items else None


def _length(value: Any) -> int | None:
    if isinstance(value, PickledArray):
        return value.shape[0] if isinstance(value.shape, tuple) and value.shape else None
    items = _items(value)
    return None if items is None else len(items)


def _is_column(value: Any) -> bool:
    if isinstance(value, PickledArray):
        return True
    items = _items(value) or (None,)
    return _shape(items[0]) is not None


# -- transitions that are objects --------------------------------------------------------------


def _transitions(items: Sequence[Any]) -> dict[str, list[Any]]:
    """Return the columns of a list of transitions by field, empty where it is none."""
    first = items[0] if items else None
    named = _named(first)
    if named:
        fields = fields_among(named)
        if lacking(fields):
            return {}
        return _gathered(items, fields, _named)
    values = _values(first)
    if values is None or len(values) < _FEWEST:
        return {}
    return _gathered(items, _order(values), lambda item: _values(item) or ())


def _values(item: Any) -> Sequence[Any] | None:
    """Return the values of a tuple, of a list, or of what stands for a named tuple."""
    if isinstance(item, (tuple, list)):
        return item
    return item.args if isinstance(item, Made) and not item.states else None


def _order(values: Sequence[Any]) -> dict[str, int]:
    """Return which value of a transition is which field; empty where it is none."""
    shapes = [_shape(value) for value in values]
    if None in shapes[:2]:
        return {}
    has_next_first = shapes[2] == shapes[0] != shapes[3]
    reward, following = (3, 2) if has_next_first else (2, 3)
    if shapes[reward] not in ((), (1,)) or shapes[following] != shapes[0]:
        return {}
    order = {OBSERVATIONS: 0, ACTIONS: 1, REWARDS: reward, NEXT: following}
    if len(values) > _FEWEST and shapes[_FEWEST] in ((), (1,)):
        order[DONES] = _FEWEST
    return order


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of an array, of a number, or of a list of numbers; None for all else."""
    if isinstance(value, PickledArray):
        return value.shape if isinstance(value.shape, tuple) else None
    if isinstance(value, (bool, int, float)):
        return ()
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (int, float)):
        return (len(value),)
    return None


def _gathered(
    items: Sequence[Any], fields: Mapping[str, Any], read: Callable[[Any], Any]
) -> dict[str, list[Any]]:
    """Return the columns; raises `CorruptCheckpoint` where transitions differ in their fields."""
    columns: dict[str, list[Any]] = {field: [] for field in fields}
    try:
        for item in items:
            values = read(item)
            for field, key in fields.items():
                columns[field].append(values[key])
    except (KeyError, IndexError):
        raise CorruptCheckpoint("its transitions do not all have the same fields") from None
    return columns


def _stacked(name: str, values: Sequence[Any]) -> NDArray[Any]:
    """Return a column of single arrays, or of numbers, as one array.

    Raises `CorruptCheckpoint` where they are not all alike, `UnsupportedCheckpoint` where they are
    neither.
    """
    first = values[0]
    if isinstance(first, PickledArray):
        view = first.view()
        of_one_kind = all(
            isinstance(value, PickledArray)
            and value.shape == first.shape
            and (value.dtype is first.dtype or _type(value) == view.dtype)
            and isinstance(value.data, (bytes, memoryview))
            and len(value.data) == view.nbytes
            for value in values
        )
        if not of_one_kind or (first.fortran and view.ndim > 1):
            raise CorruptCheckpoint(f"its {name!r} are not all arrays of one shape and type")
        return np.frombuffer(b"".join(value.data for value in values), view.dtype).reshape(
            len(values), *view.shape
        )
    try:
        stacked = np.array(values)
    except (ValueError, TypeError, OverflowError):
        stacked = np.array([None])
    if stacked.dtype.kind not in "biuf":
        raise UnsupportedCheckpoint(
            f"its {name!r} are neither arrays nor numbers, of one shape; only such are read here"
        )
    return stacked


def _type(array: PickledArray) -> np.dtype[Any] | None:
    return array.dtype.numpy() if isinstance(array.dtype, PickledDType) else None
