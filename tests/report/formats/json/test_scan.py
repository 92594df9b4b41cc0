"""JSON for scripts: valid whatever the file holds, and the figures are the report's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th

import sacdoctor
from sacdoctor import Report, scan
from sacdoctor.report.formats.json.scan import render
from sacdoctor.report.results import ScanResult
from tests.archives import write_sb3
from tests.scan_document import parse


def document(*reports: Report, all_tensors: bool = False) -> dict:
    return parse("".join(render(ScanResult(reports, all_tensors))))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_document_over_any_number_of_reports(healthy: Path, count: int) -> None:
    found = document(*[scan(healthy)] * count)
    assert len(found["checkpoints"]) == count
    assert found["sacdoctor"] == sacdoctor.__version__


def test_reports_are_written_as_they_come(healthy: Path) -> None:
    """A scan of a thousand files must not wait for the last one."""
    came = []

    def reports():  # type: ignore[no-untyped-def]
        for number in range(3):
            came.append(number)
            yield scan(healthy)

    pieces = render(ScanResult(reports(), all_tensors=False))
    next(pieces)
    next(pieces)
    assert came == [0]


def test_numbers_that_json_cannot_hold_become_null(tmp_path: Path) -> None:
    optimizer = {"state": {}, "param_groups": [{"lr": float("nan"), "params": []}]}
    path = write_sb3(
        tmp_path / "m.zip",
        {},
        {"learning_rate": float("inf")},
        {"actor.optimizer": optimizer},
    )
    (checkpoint,) = document(scan(path))["checkpoints"]
    assert checkpoint["learning_rate"] is None
    assert checkpoint["optimizer_learning_rates"] == {"actor.optimizer": None}


@pytest.mark.parametrize("name", ['a"b', "tab\tand\nline", "\x1b[31m", "名前", "\ud800", "\u2028"])
def test_any_name_survives(tmp_path: Path, name: str) -> None:
    pickled = name.encode("utf-8", "surrogatepass")
    report = scan(write_sb3(tmp_path / "m.zip", {f"{name}.bias": th.ones(1)}))
    assert pickled
    (layer,) = document(report)["checkpoints"][0]["layers"]
    assert layer["name"] == f"{name}.bias"


def test_unreadable_checkpoint_has_an_error_and_nothing_else() -> None:
    report = Report(path="gone.zip", status="error", error="No such file or directory")
    (checkpoint,) = document(report)["checkpoints"]
    assert checkpoint["error"] == "No such file or directory"


def test_percentages_are_rounded_to_four_decimals(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "m.zip", {"fc.bias": th.tensor([0.0, 1.0, 1.0])})
    (checkpoint,) = document(scan(path))["checkpoints"]
    assert checkpoint["layers"][0]["zero_percent"] == 33.3333
    assert checkpoint["summary"]["zero_percent"] == 33.3333


def test_no_control_character_gets_into_the_document(tmp_path: Path) -> None:
    name = "".join(map(chr, (*range(32), *range(127, 160), 0x202E, 0x2066, 0x2028)))
    report = scan(write_sb3(tmp_path / "m.zip", {f"{name}.bias": th.zeros(1)}))
    text = "".join(render(ScanResult([report], all_tensors=False)))
    assert not [
        character for character in text if not (" " <= character <= "~" or character == "\n")
    ]
    assert parse(text)["checkpoints"][0]["layers"][0]["name"] == f"{name}.bias"
