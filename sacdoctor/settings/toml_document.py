"""TOML settings: read and changed through tomlkit, which keeps everything else as it is."""

from __future__ import annotations

from typing import Any

from sacdoctor.errors import SacdoctorError
from sacdoctor.settings.document import Edit, Entry, Notes, Place, Scalar, Section, Value


def read(text: str) -> Section:
    """Return the table in `text`. Raises `SacdoctorError` where it is not TOML."""
    try:
        root = _value(_parse(text), ())
    except RecursionError:
        raise SacdoctorError("it nests deeper than any settings do") from None
    assert isinstance(root, Section)
    return root


def write(text: str, edits: list[Edit], notes: Notes) -> str:
    """Return `text` with the edits made.

    TOML has no null: a value that is better left unset goes, and a note on top says so.
    """
    import tomlkit
    from tomlkit.items import InlineTable

    document = _parse(text)
    head = ""
    for edit in edits:
        table = document
        for key in edit.scalar.place[:-1]:
            table = table[key]
        name = edit.added or str(edit.scalar.place[-1])
        if edit.text is None:
            del table[name]
        else:
            _put(table, name, edit)
        if edit.text is None or isinstance(table, InlineTable):
            head += f"# {edit.note_on_top}" + ("\r\n" if "\r\n" in text else "\n")
        elif notes is not Notes.NONE:
            _remark(table[name], edit.note)
    return (head if notes is not Notes.NONE else "") + tomlkit.dumps(document)


def _put(table: Any, name: str, edit: Edit) -> None:
    import tomlkit

    text = str(edit.text)
    if edit.added is None and isinstance(edit.scalar.value, str):
        text = table[name].as_string().replace(edit.scalar.text, text, 1)
    table[name] = tomlkit.value(text)


def _remark(item: Any, note: str) -> None:
    earlier = item.trivia.comment.removeprefix("#").strip()
    space = item.trivia.comment_ws or "  "
    item.comment(f"{earlier}; {note}" if earlier else note)
    item.trivia.comment_ws = space


def _parse(text: str) -> Any:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(text)
    except (TOMLKitError, ValueError) as error:
        raise SacdoctorError(f"it is not TOML: {error}") from None


def _value(item: Any, place: Place) -> Value:
    if isinstance(item, dict):
        entries = [Entry(str(key), _value(value, (*place, key))) for key, value in item.items()]
        return Section(entries)
    if isinstance(item, list):
        return [_value(value, (*place, number)) for number, value in enumerate(item)]
    # tomlkit hands out booleans as Python's own.
    value = item.unwrap() if hasattr(item, "unwrap") else item
    text = item.as_string() if hasattr(item, "as_string") and not isinstance(value, str) else value
    kept = value if isinstance(value, (bool, int, float, str)) else str(value)
    return Scalar(str(text), kept, place, place)
