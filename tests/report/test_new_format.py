"""A new format is one new file: dropped into a copy of the package, it is there for its verbs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Outcome, Run, child_environment

SHOUT = '''"""Scans at the top of one's voice."""

from __future__ import annotations

from typing import TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import ScanResult


def _scan(result: ScanResult, file: TextIO) -> None:
    for report in result.reports:
        file.write(f"{report.path}: {report.status.upper()}!\\n")


FORMAT = Format("shout", "capitals for the deaf", {ScanResult: _scan})
'''

Sacdoctor = Callable[..., Outcome]


@pytest.fixture
def sacdoctor(tmp_path: Path, shell: Run) -> Sacdoctor:
    """The command of a copy of the package with one file more."""
    shutil.copytree(ROOT / "sacdoctor", tmp_path / "sacdoctor")
    (tmp_path / "sacdoctor" / "report" / "formats" / "shout.py").write_text(SHOUT)
    environment = child_environment(PYTHONPATH=str(tmp_path), COLUMNS="200")
    return lambda *arguments: shell(*arguments, env=environment)


def test_its_verb_writes_it(sacdoctor: Sacdoctor, healthy: Path, broken: Path) -> None:
    outcome = sacdoctor("scan", "--format", "shout", healthy, broken)
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out == f"{healthy}: HEALTHY!\n{broken}: CRITICAL!\n"


def test_its_verb_names_it(sacdoctor: Sacdoctor) -> None:
    help = sacdoctor("scan", "--help").out
    choices = re.search(r"--format +<([a-z|]+)>", help)
    assert choices is not None
    assert {"table", "json", "shout"} <= {*choices[1].split("|")}
    assert "capitals" in help


def test_a_verb_whose_result_it_cannot_show_refuses_it(sacdoctor: Sacdoctor, broken: Path) -> None:
    outcome = sacdoctor("history", "--format", "shout", broken.parent)
    assert (outcome.code, outcome.out) == (2, "")
    shown = outcome.complaint.partition("'shout' is not one of ")[2].partition(";")[0]
    assert {"'table'", "'json'"} <= {*shown.split(", ")}
    assert "'shout'" not in shown
