"""The `data` member: an algorithm's settings, with pickled values left unopened."""

from __future__ import annotations

import binascii
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sacdoctor.errors import CheckpointError, CorruptCheckpoint
from sacdoctor.pickles import Name, Symbols, Vocabulary, WalkBudget, dotted, read_pickle

MAX_VALUES = 2_000_000
"""Values in `data`; real ones have a few hundred. An empty list takes 20 times its text."""
MAX_PICKLED = 1000
"""Pickles among them; SB3 writes up to thirty."""
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Pickled:
    """A value that JSON cannot hold: SB3 saves it as a base64 cloudpickle, with a readable copy.

    `budget` is that of the file it stands in. Source: stable_baselines3/common/save_util.py,
    `data_to_json`.
    """

    type: str
    encoded: str
    attributes: Mapping[str, Any]
    budget: WalkBudget = field(default_factory=WalkBudget, repr=False, compare=False)

    def pickle(self) -> bytes:
        """Return the pickle's bytes; raises `CorruptCheckpoint` where they are not base64."""
        return decoded(self.encoded)

    def read(self, vocabulary: Vocabulary) -> Any:
        """Return what the pickle describes; raises as `read_pickle` does."""
        return read_pickle(self.pickle(), vocabulary, self.budget)

    def class_name(self) -> str | None:
        """Return the dotted name of the class that the pickle refers to, without importing it.

        A class from `__main__` or a notebook is pickled whole; then the name comes from the
        arguments that cloudpickle would rebuild it with.
        """
        try:
            return dotted(self.read(Symbols()))
        except CheckpointError:
            return None

    def holds_code(self) -> bool:
        """Return whether it is more than a name: a class from `__main__`, pickled whole."""
        try:
            return not isinstance(self.read(Symbols()), Name)
        except CheckpointError:
            return True


def decoded(encoded: str) -> bytes:
    """Return the bytes of a base64 text as SB3 decodes it: other characters are skipped.

    Raises `CorruptCheckpoint` where it cannot be decoded.
    """
    try:
        return binascii.a2b_base64(encoded if encoded.isascii() else encoded.encode())
    except (binascii.Error, UnicodeEncodeError):
        raise CorruptCheckpoint("a value in `data` is not base64") from None


class Hyperparameters(Mapping[str, Any]):
    """The settings by name: JSON values as they are, anything else as `Pickled`."""

    def __init__(self, values: Mapping[str, Any], budget: WalkBudget | None = None) -> None:
        budget = budget or WalkBudget()
        self._values = {key: _value(value, budget) for key, value in values.items()}
        if sum(isinstance(value, Pickled) for value in self._values.values()) > MAX_PICKLED:
            raise CorruptCheckpoint("its `data` holds more pickles than any settings do")

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def integer(self, key: str) -> int | None:
        """Return a whole number, None where the value is missing or something else."""
        value = self.number(key)
        return int(value) if value is not None and value.is_integer() else None

    def number(self, key: str) -> float | None:
        """Return a finite number, None where the value is missing or something else."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if number - number == 0 else None

    def class_name(self, key: str) -> str | None:
        """Return the dotted name of the class under `key`, None where it holds no class."""
        value = self.get(key)
        return value.class_name() if isinstance(value, Pickled) else None


def read_hyperparameters(data: memoryview, budget: WalkBudget | None = None) -> Hyperparameters:
    """Return the settings in the bytes of a `data` member of a file with this budget.

    Raises `CorruptCheckpoint` where they are not a JSON object, or one that holds a key twice: a
    repair of the one could bring the other to life.
    """
    text = bytes(data)
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise CorruptCheckpoint("its `data` holds more values than any settings do")
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal outermost
        outermost = pairs  # objects come from the inside out
        made = dict(pairs)
        if len(made) < len(pairs) and ":serialized:" in made:
            raise CorruptCheckpoint("a pickle in its `data` has a key twice")
        return made

    try:
        values = json.loads(text, object_pairs_hook=keep)
    except RecursionError:
        raise CorruptCheckpoint("its `data` nests deeper than any settings do") from None
    except ValueError as error:
        raise CorruptCheckpoint(f"its `data` is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise CorruptCheckpoint("its `data` is not a JSON object")
    if len(values) < len(outermost):
        twice = Counter(key for key, _ in outermost).most_common(1)[0][0]
        raise CorruptCheckpoint(f"its `data` holds the key {twice!r} twice")
    _refuse_depth(values)
    return Hyperparameters(values, budget)


def _refuse_depth(values: Any) -> None:
    """Raise `CorruptCheckpoint` where walking through the values would exhaust Python's stack."""
    level = [values]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise CorruptCheckpoint("its `data` nests deeper than any settings do")


def _value(value: Any, budget: WalkBudget) -> Any:
    if isinstance(value, dict) and isinstance(value.get(":serialized:"), str):
        attributes = {k: v for k, v in value.items() if k not in (":type:", ":serialized:")}
        type_ = str(value.get(":type:", ""))
        return Pickled(type_, value[":serialized:"], attributes, budget)
    return value
