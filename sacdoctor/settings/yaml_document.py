"""YAML settings: read through ruamel.yaml's nodes, changed only where a value stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sacdoctor.errors import SacdoctorError
from sacdoctor.settings.document import Edit, Entry, Notes, Plain, Scalar, Section, Value, splice
from sacdoctor.settings.numbers import read_number

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

_TAGS = "tag:yaml.org,2002:"
_QUOTES = ("'", '"')
MAX_VALUES = 200_000
"""Aliases can make a short file larger than memory; no settings unfold to this many values."""


def read(text: str) -> Section:
    """Return the mapping in `text`; an alias stands for the very section that it repeats.

    Only the structure is built: no tag makes an object. Raises `SacdoctorError`.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        node = YAML(typ="safe", pure=True).compose(text)
        root = _Reader(text).value(node) if node is not None else Section()
        values = _unfolded(root, {})
    except RecursionError:
        raise SacdoctorError("it nests deeper than any settings do") from None
    except YAMLError as error:
        raise SacdoctorError(f"it is not YAML: {_one_line(error)}") from None
    except (ValueError, AssertionError, IndexError, KeyError, AttributeError, TypeError) as error:
        # What ruamel.yaml raises by accident over text that is no YAML.
        raise SacdoctorError(f"it is not YAML: {error or type(error).__name__}") from None
    if not isinstance(root, Section):
        raise SacdoctorError("it holds no settings (a mapping of names to values)")
    if values > MAX_VALUES:
        raise SacdoctorError("its aliases unfold to more values than any settings have")
    return root


def write(text: str, edits: list[Edit], notes: Notes) -> str:
    """Return `text` with the edits made."""
    replacements: list[tuple[int, int, str]] = []
    head = ""
    # New lines come last: they follow the note on the line above them.
    for edit in sorted(edits, key=lambda edit: edit.added is not None):
        start, end, new = _replacement(text, edit)
        replacements.append((start, end, new))
        # In braces a line may end inside of a quoted text; elsewhere it ends with the value.
        if notes is Notes.ON_TOP and edit.section.flow:
            head += f"# {edit.note_on_top}{_newline(text)}"
        elif notes is not Notes.NONE:
            line_end = _line_end(text, end)
            replacements.append((line_end, line_end, f"  # {edit.note}"))
    return head + splice(text, replacements)


def _replacement(text: str, edit: Edit) -> tuple[int, int, str]:
    new = "null" if edit.text is None else edit.text
    if edit.added is None:
        start, end = edit.scalar.place if edit.text is not None else edit.scalar.whole
        return int(start), int(end), new
    end = int(edit.scalar.whole[1])
    if edit.section.flow:
        return end, end, f", {edit.added}: {new}"
    end = _line_end(text, end)
    column = edit.entry.start - _line_start(text, edit.entry.start)
    return end, end, f"{_newline(text)}{' ' * column}{edit.added}: {new}"


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._sections: dict[int, Value] = {}

    def value(self, node: Node) -> Value:
        from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

        # An alias is the same node again, even inside itself.
        if id(node) in self._sections:
            return self._sections[id(node)]
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if isinstance(node, SequenceNode):
            items: list[Value] = []
            self._sections[id(node)] = items
            items += [self.value(item) for item in node.value]
            return items
        assert isinstance(node, MappingNode)
        section = Section(flow=bool(node.flow_style))
        self._sections[id(node)] = section
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                start = key.start_mark.index
                section.entries.append(Entry(str(key.value), self.value(value), start))
        return section

    def _scalar(self, node: Any) -> Scalar:
        start, end = node.start_mark.index, node.end_mark.index
        written, content = self._text[start:end], str(node.value)
        last = end - 1 if node.style in _QUOTES else end
        place = (last - len(content), last)
        # Folded lines and escapes: such text is no number, and nothing changes it.
        simple = self._text[place[0] : place[1]] == content and node.style in (None, *_QUOTES)
        anchor = re.match(r"&\S+\s+", written)
        return Scalar(
            text=content if simple else "",
            value=_plain(str(node.tag), content),
            place=place,
            whole=(start + anchor.end() if anchor else start, end),
            tagged="!" in self._text[start : place[0]],
        )


def _unfolded(value: Value, sizes: dict[int, int | None]) -> int:
    """Return how many values there are if each alias counts as what it stands for."""
    if isinstance(value, Scalar):
        return 1
    if id(value) not in sizes:
        sizes[id(value)] = None
        inside = value if isinstance(value, list) else [entry.value for entry in value.entries]
        sizes[id(value)] = 1 + sum(_unfolded(one, sizes) for one in inside)
    size = sizes[id(value)]
    if size is None:
        raise SacdoctorError("an alias in it contains itself")
    return size


def _plain(tag: str, content: str) -> Plain:
    kind = tag.removeprefix(_TAGS)
    if kind == "null":
        return None
    if kind == "bool":
        return content.lower() in ("true", "yes", "on")
    number = read_number(content) if kind in ("int", "float") else None
    if number is None or number.linear:
        return content
    whole = kind == "int" and number.number.is_integer()
    return int(number.number) if whole else number.number


def _line_start(text: str, position: int) -> int:
    return max(text.rfind("\n", 0, position), text.rfind("\r", 0, position)) + 1


def _line_end(text: str, position: int) -> int:
    end = re.compile(r"[\r\n]").search(text, position)
    return end.start() if end else len(text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _one_line(error: Exception) -> str:
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1})" if mark is not None else str(problem)
