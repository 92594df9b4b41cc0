"""The schemas of the JSON documents: a file each, named after the document, found by being there.

What several have in common stands in shared.json. They leave objects open, as keys may be added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_SHARED = "shared"


def schema_names() -> tuple[str, ...]:
    """Return the documents that have a schema, most of them called after the verb."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json") if path.stem != _SHARED))


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a document, with all that it refers to in it.

    Raises `KeyError` where there is no such document.
    """
    if name not in schema_names():
        raise KeyError(name)
    document = _read(name)
    shared: dict[str, Any] = _read(_SHARED)["$defs"]
    needed: set[str] = set()
    waiting = [*_references(document)]
    while waiting:
        reference = waiting.pop()
        if reference not in needed:
            needed.add(reference)
            waiting += _references(shared[reference])
    return {**document, "$defs": {name: shared[name] for name in sorted(needed)}}


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    return document


def _references(part: Any) -> Iterator[str]:
    """Yield the names under `$defs` that a part of a schema refers to."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from _references(one)
