"""Checkpoints from the wild: any folder of them, named by the environment.

`SACDOCTOR_CORPUS` is a folder of `.zip` files that healthy runs saved. A `MANIFEST.tsv` in it may
say in columns `file`, `algorithm` and `sha256` what each of them is.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest

CORPUS = os.environ.get("SACDOCTOR_CORPUS", "")
FILES = sorted(Path(CORPUS).absolute().rglob("*.zip")) if CORPUS else []
MANIFEST = Path(CORPUS, "MANIFEST.tsv")

needs_corpus = pytest.mark.skipif(not CORPUS, reason="SACDOCTOR_CORPUS names no folder")


def each_file(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test that takes `path` once for every file; without a folder, say that it is skipped.

    Of a test without parameters pytest would say only that it has none, and a folder without
    checkpoints would pass.
    """
    paths = FILES or [pytest.param(Path(), id="no file")]
    each = pytest.mark.parametrize("path", paths, ids=lambda path: path.name)
    return needs_corpus(each(test))


def manifest() -> list[dict[str, str]]:
    """Return the rows of the folder's manifest, none where it has no such file."""
    if not MANIFEST.is_file():
        return []
    with MANIFEST.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))
