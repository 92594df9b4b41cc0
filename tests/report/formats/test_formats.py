"""The formats as values: found by being there, and each shows what it says it shows."""

from __future__ import annotations

import io
import json
from datetime import datetime
from pathlib import Path
from typing import TextIO, get_type_hints

import pytest

from sacdoctor import scan
from sacdoctor.report import formats, results
from sacdoctor.report.formats import FORMATS, formats_for
from sacdoctor.report.results import DiffResult, ScanResult, WatchResult

KINDS = [
    kind
    for name, kind in vars(results).items()
    if name.endswith(("Result", "Results")) and kind.__module__ == results.__name__
]

each_format = pytest.mark.parametrize("name", FORMATS)


def test_every_file_of_the_package_is_a_format_of_that_name() -> None:
    files = Path(formats.__file__).parent.iterdir()
    names = {path.stem for path in files if not path.name.startswith("_")}
    assert {"table", "json", "text"} <= names
    assert set(FORMATS) == names


@each_format
def test_a_format_says_what_it_is_as_part_of_a_sentence(name: str) -> None:
    words = FORMATS[name].help
    assert words
    assert "\n" not in words
    assert not words.endswith(".")


@each_format
def test_each_view_takes_the_kind_of_result_that_it_stands_for(name: str) -> None:
    views = FORMATS[name].views
    assert views
    assert set(views) <= set(KINDS)
    for kind, write in views.items():
        assert get_type_hints(write) == {"result": kind, "file": TextIO, "return": type(None)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_result_can_be_shown(kind: type) -> None:
    assert formats_for(kind)


def test_a_table_is_a_format_like_the_others() -> None:
    names = {kind: {format.name for format in formats_for(kind)} for kind in KINDS}
    assert {"table", "json"} <= names[ScanResult] & names[DiffResult]
    assert {"text", "json"} <= names[WatchResult]
    assert "table" not in names[WatchResult]
    assert "text" not in names[ScanResult]


def test_a_result_that_a_format_does_not_show_is_refused(healthy: Path) -> None:
    landed = WatchResult(scan(healthy), healthy.parent, datetime(2026, 1, 2, 3, 4, 5))
    with pytest.raises(KeyError):
        FORMATS["table"].write(landed, io.StringIO())


# -- a checkpoint that has landed --------------------------------------------------------------


def landing(format: str, path: Path, run: Path) -> str:
    out = io.StringIO()
    FORMATS[format].write(WatchResult(scan(path), run, datetime(2026, 1, 2, 3, 4, 5)), out)
    return out.getvalue()


def test_text_names_a_file_as_it_lies_in_the_folder(broken: Path) -> None:
    line = landing("text", broken, broken.parents[1])
    assert line.startswith("03:04:05  checkpoints/two_head_broken.zip  512 steps  critical  SD101 ")
    assert line.endswith(" (+2 more)\n")
    assert line.count("\n") == 1


def test_text_names_a_file_from_elsewhere_in_full(healthy: Path, tmp_path: Path) -> None:
    assert landing("text", healthy, tmp_path).split("  ")[1] == str(healthy)


def test_json_of_a_landing_says_the_time_with_its_zone(healthy: Path) -> None:
    line = landing("json", healthy, healthy.parent)
    assert line.count("\n") == 1
    time = datetime.fromisoformat(json.loads(line)["time"])
    assert time.tzinfo is not None
    assert time.replace(tzinfo=None) == datetime(2026, 1, 2, 3, 4, 5)
