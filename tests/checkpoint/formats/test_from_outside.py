"""A kind of checkpoint file that this package knows nothing of, added as one file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT

TOY = '''
"""Toy checkpoints: "TOY1", a line of JSON with the shape of each tensor, then its float32s."""

import json
from math import prod

from sacdoctor.checkpoint.dtypes import DTYPES
from sacdoctor.checkpoint.edits import edited_in_place
from sacdoctor.checkpoint.formats.interface import Container, Contents
from sacdoctor.checkpoint.tensors import Storage, Tensor, contiguous_stride
from sacdoctor.errors import CorruptCheckpoint


class Toy(Contents):
    def __init__(self, buffer, limits):
        self.buffer = buffer
        line, end, _ = bytes(buffer[4:]).partition(b"\\n")
        if not end:
            raise CorruptCheckpoint("its line of shapes has no end")
        self.shapes, self.at = json.loads(line), 4 + len(line) + 1

    def tensors(self):
        found, at, dtype = {}, self.at, DTYPES["float32"]
        for name, shape in self.shapes.items():
            size = prod(shape)
            storage = Storage(name, dtype, size, self.buffer[at : at + 4 * size], at)
            found[name] = Tensor(storage, 0, tuple(shape), contiguous_stride(shape), dtype)
            at += 4 * size
        return found

    def edited(self, edits):
        return edited_in_place(self.buffer, edits.elements)


CONTAINER = Container(
    name="a toy",
    endings=(".toy",),
    opens=lambda buffer: bytes(buffer[:4]) == b"TOY1",
    contents=Toy,
)
'''

HEADER = b'TOY1{"actor.mu.weight": [2, 3], "actor.mu.bias": [2]}\n'
DEAD = HEADER + np.array([1, 2, 3, 4, 5, 6, 0, 0], "<f4").tobytes()

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command line of a copy of this package that has one file more."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(
        ROOT / "sacdoctor", home / "sacdoctor", ignore=shutil.ignore_patterns("__pycache__")
    )
    (home / "sacdoctor" / "checkpoint" / "formats" / "toy.py").write_text(TOY)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sacdoctor", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(home)},
            cwd=home,
        )

    return run


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toy"
    path.write_bytes(DEAD)
    return path


def said(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_scan_fix_and_diff_work_on_it(run: Run, toy: Path) -> None:
    report = said(run("scan", "--format", "json", toy))["checkpoints"][0]
    assert report["status"] == "critical"
    assert [(bias["name"], bias["zero_percent"], bias["cause"]) for bias in report["layers"]] == [
        ("actor.mu.bias", 100.0, "unknown")
    ]
    assert run("fix", toy).returncode == 0
    fixed = toy.with_name("agent_FIXED.toy")
    before, after = toy.read_bytes(), fixed.read_bytes()
    assert before == DEAD
    assert (len(after), after[:-8]) == (len(before), before[:-8])
    drawn = np.frombuffer(after[-8:], "<f4")
    assert np.all((drawn != 0) & (abs(drawn) <= 0.01))
    assert run("scan", fixed).returncode == 0
    assert run("diff", toy, toy).returncode == 0
    difference = run("diff", "--format", "json", toy, fixed)
    assert difference.returncode == 1
    assert "actor.mu.bias" in difference.stdout


def test_it_is_named_in_words_and_its_faults_are(run: Run, toy: Path) -> None:
    done = run("fix-config", toy)
    assert "it is a toy, which holds no settings" in done.stderr
    toy.write_bytes(b"TOY1")
    done = run("scan", toy)
    assert done.returncode == 2
    assert done.stderr.strip() == f"sacdoctor: {toy}: its line of shapes has no end"


def test_without_that_file_nobody_knows_it(toy: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sacdoctor", "scan", toy], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert "neither a zip nor" in done.stderr
