"""A settings file as a tree whose leaves know where they stand, so that only they change."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, StrEnum

from msgspec import Struct, field

from sacdoctor.errors import SacdoctorError

MAX_DEPTH = 100
"""Levels of a settings file; rl-zoo's have three."""

Plain = None | bool | int | float | str
Place = tuple[int | str, ...]
"""Where a value stands: start and end in a YAML or JSON text, the keys that lead to it in TOML."""


class Language(StrEnum):
    """What a settings file is written in."""

    YAML = "yaml"
    JSON = "json"
    TOML = "toml"


class Notes(Enum):
    """Where a corrected file says what a value was."""

    NONE = "nowhere"
    ON_LINES = "behind it, on its line"
    ON_TOP = "above everything, where a line may end inside of a value"


class Scalar(Struct, frozen=True, eq=False):
    """A value: as it is written (without quotes and tag), and as the language reads it.

    `whole` is the place with quotes and tag. A `tagged` YAML value (`!!float 5e-3`) is a number
    whether or not it has a dot.
    """

    text: str
    value: Plain
    place: Place
    whole: Place
    tagged: bool = False


class Entry(Struct, frozen=True, eq=False):
    """A key with its value; `start` is where the key begins in a YAML or JSON text."""

    key: str
    value: Value
    start: int = 0


class Section(Struct, frozen=True, eq=False):
    """A mapping, in its order. `flow`: written in braces, so that a new entry follows a comma."""

    entries: list[Entry] = field(default_factory=list)
    flow: bool = False

    def get(self, key: str) -> Value | None:
        """Return the value of the last entry with this key, None where there is none."""
        return next((entry.value for entry in reversed(self.entries) if entry.key == key), None)


Value = Scalar | Section | list["Value"]


class Edit(Struct, frozen=True, eq=False):
    """One change of a file: a new text for `entry`, or a new entry `added` right after it.

    `text` None stands for null.
    """

    section: Section
    entry: Entry
    text: str | None
    was: str
    added: str | None = None

    @property
    def note(self) -> str:
        """What to say on the line of the change."""
        return f"was {self.was}" if self.added is None else "was not set"

    @property
    def note_on_top(self) -> str:
        """What to say elsewhere."""
        return f"{self.added or self.entry.key} {self.note}"

    @property
    def scalar(self) -> Scalar:
        """The value that changes, or that the new entry follows."""
        assert isinstance(self.entry.value, Scalar)
        return self.entry.value


def splice(text: str, replacements: list[tuple[int, int, str]]) -> str:
    """Return `text` with each (start, end, new) put in, those for one place in their order.

    They must not overlap.
    """
    pieces: list[str] = []
    position = 0
    for start, end, new in sorted(replacements, key=lambda replacement: replacement[:2]):
        pieces += [text[position:start], new]
        position = end
    return "".join([*pieces, text[position:]])


def refuse_depth(section: Section) -> None:
    """Raise `SacdoctorError` where walking through the tree would exhaust Python's stack."""
    level: list[Value] = [section]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise SacdoctorError("it nests deeper than any settings do")


def _inside(value: Value) -> list[Value]:
    if isinstance(value, Section):
        return [entry.value for entry in value.entries]
    return value if isinstance(value, list) else []


def as_dict(section: Section) -> dict[str, object]:
    """Return the tree as dicts, lists and plain values, merge keys (`<<`) resolved."""
    inherited: dict[str, object] = {}
    for base in _bases(section):
        inherited = {**as_dict(base), **inherited}
    own = {e.key: _plain(e.value) for e in section.entries if e.key != "<<"}
    return {**inherited, **own}


def _plain(value: Value) -> object:
    if isinstance(value, Scalar):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, list) else as_dict(value)


def _bases(section: Section) -> Iterator[Section]:
    """Yield what merge keys name; the first one wins."""
    for entry in section.entries:
        if entry.key == "<<":
            bases = entry.value if isinstance(entry.value, list) else [entry.value]
            yield from (base for base in bases if isinstance(base, Section))
