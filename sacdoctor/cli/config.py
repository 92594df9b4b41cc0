"""The project's own settings: `sacdoctor.toml`, or `[tool.sacdoctor]` in pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from sacdoctor.cli.outcome import FailOn
from sacdoctor.errors import SacdoctorError

_OWN, _SHARED = "sacdoctor.toml", "pyproject.toml"
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){100}""")
"""A key of a hundred parts: Python's reader takes the square of how many there are in time."""
_MOST = 1000
"""Patterns of one kind; each is held against every name."""


class Config(Struct, frozen=True):
    """What a settings file says; None and empty: it says nothing.

    `path` is the file, None where there is none. `is_named`: the command line names it, so that
    whoever gave the command knows what it says.
    """

    warning: float | None = None
    critical: float | None = None
    fail_on: FailOn | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    path: Path | None = None
    is_named: bool = False


def read_config(path: Path) -> Config:
    """Return the settings of a file that the command line names.

    Of a pyproject.toml they are those of its table. Raises `SacdoctorError` as `find_config` does,
    and where there is no such file or table.
    """
    table = _own_table(_toml(path)) if path.name == _SHARED else _toml(path)
    if table is None:
        raise SacdoctorError("it has no table [tool.sacdoctor]", path)
    return _config(table, path, is_named=True)


def find_config(folder: Path | None = None) -> Config:
    """Return the settings of the nearest file in `folder` or above it; none found: all unset.

    `folder` is the working folder where it is not given. In one folder `sacdoctor.toml` comes
    before pyproject.toml. Raises `SacdoctorError` for a file that is no TOML, a key that does not
    exist and a value of the wrong type.
    """
    try:
        folder = folder or Path.cwd()
    except OSError:  # somebody removed it
        return Config()
    for place in (folder, *folder.parents):
        own = place / _OWN
        if _is_file(own):
            return _config(_toml(own), own)
        shared = place / _SHARED
        if _is_file(shared) and b"tool.sacdoctor" in _bytes(shared):
            table = _own_table(_toml(shared))
            if table is not None:
                return _config(table, shared)
    return Config()


def _own_table(pyproject: Mapping[str, Any]) -> Mapping[str, Any] | None:
    tools = pyproject.get("tool")
    table = tools.get("sacdoctor") if isinstance(tools, dict) else None
    return table if isinstance(table, dict) else None


def _config(table: Mapping[str, Any], path: Path, *, is_named: bool = False) -> Config:
    readers = {
        "warning": _percent,
        "critical": _percent,
        "fail-on": _fail_on,
        "include": _patterns,
        "exclude": _patterns,
        "components": _components,
        "select": _patterns,
        "ignore": _patterns,
        "trust": _patterns,
    }
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in readers:
            known = ", ".join(readers)
            raise SacdoctorError(f"unknown setting {key!r}; there are {known}", path)
        try:
            values[key.replace("-", "_")] = readers[key](value)
        except ValueError as error:
            raise SacdoctorError(f"setting {key!r}: {error}", path) from None
    return Config(**values, path=path, is_named=is_named)


def _percent(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("it must be a number, in percent")
    return float(value)


def _fail_on(value: Any) -> FailOn:
    try:
        return FailOn(value)
    except ValueError:
        raise ValueError(
            f"it must be one of {', '.join(level.value for level in FailOn)}"
        ) from None


def _patterns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
        raise ValueError("it must be a list of texts")
    if len(value) > _MOST:
        raise ValueError(f"it has {len(value):,} texts, and {_MOST:,} are read")
    return tuple(value)


def _components(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise ValueError('it must be a table of name patterns, as in "my_head.*" = "my head"')
    if len(value) > _MOST:
        raise ValueError(f"it has {len(value):,} patterns, and {_MOST:,} are read")
    return dict(value)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder above that this user may not look into
        return False


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SacdoctorError(error.strerror or str(error), path) from None


def _toml(path: Path) -> dict[str, Any]:
    import tomllib  # most folders have no such file: start-up does without it

    try:
        text = _bytes(path).decode()
        if _LONG_KEY.search(text):
            raise SacdoctorError("it nests deeper than any settings do", path)
        return tomllib.loads(text)
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are both one
        raise SacdoctorError(f"it is not TOML: {error}", path) from None
    except RecursionError:
        raise SacdoctorError("it nests deeper than any settings do", path) from None
