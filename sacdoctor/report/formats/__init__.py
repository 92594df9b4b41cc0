"""The formats: each is a module or package in here with a `FORMAT`, and that is all it takes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from sacdoctor.report.interface import Format


def _found() -> dict[str, Format]:
    modules = (import_module(f"{__name__}.{name}") for _, name, _ in iter_modules(__path__))
    return {module.FORMAT.name: module.FORMAT for module in modules}


FORMATS: Mapping[str, Format] = _found()
"""All formats by their names, in the order of the names."""


def formats_for(kind: type) -> tuple[Format, ...]:
    """Return the formats that show results of this kind (a type from `report.results`)."""
    return tuple(format for format in FORMATS.values() if kind in format.views)
