"""Nobody is accused wrongly: SB3's own files pass the gate, and a user's own code is no attack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.corpus import each_file

SCRIPT = ROOT / "tests" / "honest" / "write.py"
ONLY_COMPUTE = {f"{name}.zip" for name in ("closure", "cosine", "function", "lambda", "numpy")}
"""Agents whose only code is a schedule that is proven to compute."""


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all algorithms write after a few steps, and agents with code of a user's own."""
    folder = tmp_path_factory.mktemp("honest")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, SCRIPT, folder], check=True, cwd=folder, env=environment)
    return folder


def _files(folder: Path) -> list[Path]:
    found = sorted(
        path for path in folder.iterdir() if path.suffix in (".zip", ".pkl", ".pth", ".pt")
    )
    assert found
    return found


@pytest.mark.slow
def test_what_sb3_writes_passes_the_gate(run: Run, honest: Path) -> None:
    outcomes = {path.name: run("scan", "--select", "SD6", path) for path in _files(honest / "sb3")}
    assert {name: done.out for name, done in outcomes.items() if done.code} == {}
    assert [name for name, done in outcomes.items() if "SD60" in done.out] == []


@pytest.mark.slow
def test_code_of_a_users_own_is_named_and_never_called_an_attack(run: Run, honest: Path) -> None:
    outcomes = {path.name: run("scan", "--select", "SD6", path) for path in _files(honest / "own")}
    assert {name: done.out for name, done in outcomes.items() if "SD601" in done.out} == {}
    assert {name: done.err for name, done in outcomes.items() if done.code not in (0, 1)} == {}
    assert {name for name, done in outcomes.items() if done.code == 0} == {
        *ONLY_COMPUTE,
        *("extractor-sac_replay_buffer.pkl", "function_replay_buffer.pkl"),  # SB3's own buffers
    }


@each_file
def test_published_agents_pass_the_gate(run: Run, path: Path) -> None:
    assert run("scan", "--select", "SD6", path).code == 0
