"""The project's own settings: `sacdoctor.toml`, or `[tool.sacdoctor]` in pyproject.toml."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacdoctor.checkpoint import SacdoctorError
from sacdoctor.cli.outcome import FailOn


@dataclass(frozen=True, slots=True)
class Config:
    """Settings that stand in for options that were not given. None: not set."""

    warning: float | None = None
    critical: float | None = None
    fail_on: FailOn | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)


def find_config(folder: Path) -> Config:
    """Return the settings of the nearest file in `folder` or above it; none found: all unset.

    In one folder `sacdoctor.toml` comes before pyproject.toml. Raises `SacdoctorError` for a
    file that is no TOML, a key that does not exist and a value of the wrong type.
    """
    for place in (folder, *folder.parents):
        own = place / "sacdoctor.toml"
        if own.is_file():
            return _config(_toml(own), own)
        shared = place / "pyproject.toml"
        if shared.is_file() and b"tool.sacdoctor" in _bytes(shared):
            table = _toml(shared).get("tool", {}).get("sacdoctor")
            if isinstance(table, dict):
                return _config(table, shared)
    return Config()


def _config(table: Mapping[str, Any], path: Path) -> Config:
    readers = {
        "warning": _percent,
        "critical": _percent,
        "fail-on": _fail_on,
        "include": _patterns,
        "exclude": _patterns,
        "components": _components,
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
    return Config(**values)


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
        raise ValueError("it must be a list of name patterns")
    return tuple(value)


def _components(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise ValueError('it must be a table of name patterns, as in "my_head.*" = "my head"')
    return dict(value)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SacdoctorError(error.strerror or str(error), path) from None


def _toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(_bytes(path).decode())
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are both one
        raise SacdoctorError(f"it is not TOML: {error}", path) from None
