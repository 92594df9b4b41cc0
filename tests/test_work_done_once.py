"""What takes time is done once: opening a file, checking its bytes, walking a pickle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sacdoctor import fix, read_history, scan
from sacdoctor.history import read
from sacdoctor.trust import parts
from tests.conftest import child_environment
from tests.runs import Runs

COUNT_OPENS = """
import json, sys
from collections import Counter
from sacdoctor import read_history
opens = Counter()
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".zip"):
        opens[str(arguments[0])] += 1
sys.addaudithook(hook)
assert read_history(sys.argv[1]).statuses == {"healthy"}
print(json.dumps(opens))
"""


def opens(folder: Path) -> dict[str, int]:
    """How often a history of the folder opens each checkpoint, seen from outside of it."""
    command = [sys.executable, "-c", COUNT_OPENS, str(folder)]
    done = subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, check=True
    )
    counted: dict[str, int] = json.loads(done.stdout)
    return counted


def test_history_opens_each_file_once(runs: Runs) -> None:
    folder = runs("healthy SAC")
    counted = opens(folder)
    assert {Path(name) for name in counted} == set(folder.glob("*.zip"))
    assert set(counted.values()) == {1}


def test_history_of_more_files_than_may_be_open_says_the_same(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs("dead bias")
    whole = read_history(folder)
    monkeypatch.setattr(read, "MOST_OPEN", 1)
    assert read_history(folder) == whole


def test_repair_walks_each_pickle_once(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in the checkpoint, once in the copy that is read back."""
    walked: Counter[bytes] = Counter()
    walk = parts.references

    def counted(data: memoryview, *more: object) -> object:
        walked[bytes(data)] += 1
        return walk(data, *more)

    monkeypatch.setattr(parts, "references", counted)
    fix(broken, output=tmp_path / "fixed.zip")
    assert walked
    assert max(walked.values()) <= 2


def test_scan_walks_no_pickle_that_was_read(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tensors and moments are read by a list that is shorter than what may be loaded."""
    walked: list[int] = []
    monkeypatch.setattr(
        parts, "torch_references", lambda data, limits: walked.append(len(data)) or ()
    )
    assert scan(healthy).layers
    assert walked == []
