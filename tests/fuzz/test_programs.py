"""The fuzzer of pickle programs in small: what happens is seen, and none of it passes the gate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, child_environment
from tests.fuzz.programs import Program

pytestmark = pytest.mark.slow


def test_a_program_hangs_on_its_seed_alone() -> None:
    assert [Program.of(seed) for seed in range(20)] == [Program.of(seed) for seed in range(20)]


def test_no_program_that_does_anything_passes_the_gate(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.programs", "--runs", "2000"]
    done = subprocess.run(
        [*command, "--faults", tmp_path / "faults"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=child_environment(OMP_NUM_THREADS="1"),
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["runs"] == 2000
    assert told["observed"] > 100  # else they all failed at their first opcode
    assert told["faults"] == {}
