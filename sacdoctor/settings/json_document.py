"""JSON settings: checked by the standard library, changed only where a value stands."""

from __future__ import annotations

import json
import re

from sacdoctor.errors import SacdoctorError
from sacdoctor.settings.document import Edit, Entry, Notes, Scalar, Section, Value, splice

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def read(text: str) -> Section:
    """Return the object in `text`. Raises `SacdoctorError` where there is none."""
    try:
        checked = json.loads(text)
    except RecursionError:
        raise SacdoctorError("it nests deeper than any settings do") from None
    except ValueError as error:
        raise SacdoctorError(f"it is not JSON: {error}") from None
    if not isinstance(checked, dict):
        raise SacdoctorError("it holds no settings (an object of names and values)")
    return _places(text)


def write(text: str, edits: list[Edit], notes: Notes) -> str:
    """Return `text` with the edits made; JSON has no comments for `notes`."""
    return splice(text, [_replacement(text, edit) for edit in edits])


def _replacement(text: str, edit: Edit) -> tuple[int, int, str]:
    new = "null" if edit.text is None else edit.text
    if edit.added is None:
        start, end = edit.scalar.place if edit.text is not None else edit.scalar.whole
        return int(start), int(end), new
    end = int(edit.scalar.whole[1])
    before = text[: edit.entry.start]
    space = before[len(before.rstrip()) :]
    return end, end, f",{space or ' '}{json.dumps(edit.added)}: {new}"


def _places(text: str) -> Section:
    """Return the tree with its places. `text` has been checked, so its tokens are in order."""
    root: list[Value] = []
    open_values: list[Section | list[Value]] = [root]
    key: tuple[str, int] | None = None
    for token in _TOKEN.finditer(text):
        mark = token.group()
        within = open_values[-1]
        if mark in ",:":
            continue
        if mark in "}]":
            open_values.pop()
            continue
        if isinstance(within, Section) and key is None:
            key = (json.loads(mark), token.start())
            continue
        value: Value
        if mark == "{":
            value = Section(flow=True)
        elif mark == "[":
            value = []
        else:
            value = _scalar(token)
        if isinstance(within, Section):
            assert key is not None
            within.entries.append(Entry(key[0], value, key[1]))
            key = None
        else:
            within.append(value)
        if isinstance(value, (Section, list)):
            open_values.append(value)
    assert isinstance(root[0], Section)
    return root[0]


def _scalar(token: re.Match[str]) -> Scalar:
    start, end = token.span()
    quoted = token.group().startswith('"')
    value = json.loads(token.group())
    inner = (start + 1, end - 1) if quoted else (start, end)
    return Scalar(token.string[inner[0] : inner[1]], value, inner, (start, end))
