"""The project's own settings: `sacdoctor.toml`, or `[tool.sacdoctor]` in pyproject.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sacdoctor.cli.outcome import FailOn
from sacdoctor.errors import SacdoctorError
from sacdoctor.options import ScanOptions
from sacdoctor.severity import Thresholds


@dataclass(frozen=True, slots=True)
class Config:
    """What holds for a verb. None: not set, the default of `Thresholds` is meant."""

    warning: float | None = None
    critical: float | None = None
    fail_on: FailOn = FailOn.CRITICAL
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def scan_options(self) -> ScanOptions:
        """Return what to look for.

        `select` and `ignore` may hold several codes or names in one text, separated by commas.
        Raises `SacdoctorError` for thresholds that make no sense and for rules that do not exist.
        """
        from sacdoctor.diagnosis.rules import as_spelled, selected

        limits = {"warning": self.warning, "critical": self.critical}
        try:
            thresholds = Thresholds(**{name: x for name, x in limits.items() if x is not None})
            select, ignore = (
                tuple(map(as_spelled, _split(texts))) for texts in (self.select, self.ignore)
            )
            selected(select, ignore)
        except ValueError as error:
            raise SacdoctorError(str(error)) from None
        return ScanOptions(
            thresholds=thresholds,
            include=self.include,
            exclude=self.exclude,
            components=self.components,
            select=select,
            ignore=ignore,
        )


def configuration(
    *,
    warning: float | None = None,
    critical: float | None = None,
    fail_on: FailOn | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    select: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
) -> Config:
    """Return what holds: the options that were given, the settings file for the others.

    Raises `SacdoctorError` for a settings file that cannot be read (see `find_config`).
    """
    numbers = {"warning": warning, "critical": critical, "fail_on": fail_on}
    lists = {"include": include, "exclude": exclude, "select": select, "ignore": ignore}
    given: dict[str, Any] = {name: x for name, x in numbers.items() if x is not None}
    given |= {name: tuple(texts) for name, texts in lists.items() if texts}
    return replace(find_config(), **given)


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
        own = place / "sacdoctor.toml"
        if _is_file(own):
            return _config(_toml(own), own)
        shared = place / "pyproject.toml"
        if _is_file(shared) and b"tool.sacdoctor" in _bytes(shared):
            tools = _toml(shared).get("tool")
            table = tools.get("sacdoctor") if isinstance(tools, dict) else None
            if isinstance(table, dict):
                return _config(table, shared)
    return Config()


def _split(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _config(table: Mapping[str, Any], path: Path) -> Config:
    readers = {
        "warning": _percent,
        "critical": _percent,
        "fail-on": _fail_on,
        "include": _patterns,
        "exclude": _patterns,
        "components": _components,
        "select": _patterns,
        "ignore": _patterns,
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
        raise ValueError("it must be a list of texts")
    return tuple(value)


def _components(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise ValueError('it must be a table of name patterns, as in "my_head.*" = "my head"')
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
        return tomllib.loads(_bytes(path).decode())
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError are both one
        raise SacdoctorError(f"it is not TOML: {error}", path) from None
