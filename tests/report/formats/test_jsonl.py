"""JSON Lines: each line is what the document would hold of one file."""

from __future__ import annotations

import json
from datetime import datetime
from io import StringIO
from pathlib import Path

from sacdoctor import scan
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import ScanResult, WatchResult
from tests.report.formats.reports import shown


def test_a_line_says_what_the_document_says(healthy: Path, broken: Path) -> None:
    reports = scan(healthy), scan(broken)
    document = json.loads(shown("json", *reports))
    checkpoints = document.pop("checkpoints")
    lines = shown("jsonl", *reports).splitlines()
    assert [json.loads(line) for line in lines] == [{**document, **one} for one in checkpoints]


def test_a_line_is_there_before_the_next_file_is_looked_at(healthy: Path) -> None:
    out = StringIO()
    seen = []

    def reports():  # type: ignore[no-untyped-def]
        for _ in range(3):
            seen.append(out.getvalue().count("\n"))
            yield scan(healthy)

    FORMATS["jsonl"].write(ScanResult(reports(), all_tensors=False), out)
    assert seen == [0, 1, 2]


def test_a_landing_is_the_same_line_as_in_json(healthy: Path) -> None:
    landed = WatchResult(scan(healthy), healthy.parent, datetime(2026, 1, 2, 3, 4, 5))
    one, other = StringIO(), StringIO()
    FORMATS["jsonl"].write(landed, one)
    FORMATS["json"].write(landed, other)
    assert one.getvalue() == other.getvalue()
