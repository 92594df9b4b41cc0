"""JSON Lines: an object on a line of its own for each file, as soon as it is known."""

from __future__ import annotations

from typing import TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import ScanResult, WatchResult


def _scan(result: ScanResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.scan import lines

    for line in lines(result):
        file.write(line)
        file.flush()


def _watch(result: WatchResult, file: TextIO) -> None:
    from sacdoctor.report.formats.json.watch import render

    file.write(render(result.report, result.time, result.configuration))


FORMAT = Format("jsonl", "JSON Lines for streams", {ScanResult: _scan, WatchResult: _watch})
