"""`sacdoctor watch`: a line for each checkpoint, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run, child_environment

COMMAND = [sys.executable, "-m", "sacdoctor", "watch"]


@pytest.fixture
def folder(tmp_path: Path, healthy: Path, broken: Path) -> Path:
    """A good checkpoint, then a bad one; both rest for a while already."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name, source in (("1_good.zip", healthy), ("2_bad.zip", broken)):
        shutil.copyfile(source, folder / name)
        shutil.copystat(source, folder / name)
    return folder


def test_it_ends_with_1_at_the_first_checkpoint_that_fails(run: Run, folder: Path) -> None:
    outcome = run("watch", folder)
    assert (outcome.code, outcome.err) == (1, "")
    lines = outcome.out.splitlines()
    assert len(lines) in (1, 2)  # the two are as old as the clone
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d  2_bad.zip  \d+ steps  critical  SD101 .* \(\+\d more\)", lines[-1]
    )


def test_json_is_an_object_per_line(run: Run, folder: Path) -> None:
    (folder / "1_good.zip").unlink()
    outcome = run("watch", folder, "--format", "json")
    assert outcome.code == 1
    (line,) = outcome.out.splitlines()
    document = json.loads(line)
    assert (document["schema_version"], document["status"]) == (1, "critical")
    assert document["path"] == str(folder / "2_bad.zip")
    assert [finding["rule"] for finding in document["findings"]] == ["SD101", "SD202", "SD401"]


def test_ctrl_c_ends_it_with_130_and_one_word(folder: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, str(folder), "--fail-on", "never"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(),
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        lines = [child.stdout.readline() for _ in range(2)]  # they come at once, not at the end
        child.send_signal(signal.SIGINT)
        try:
            assert child.wait(timeout=10) == 130
        finally:
            child.kill()  # else the test waits for as long as the child watches
        assert child.stderr.read() == "sacdoctor: interrupted\n"
    assert all(line.endswith("\n") for line in lines)


def test_reader_that_has_seen_enough_ends_it_quietly(folder: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m sacdoctor watch {folder} --fail-on never --interval 0.05 | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env=child_environment(),
        timeout=30,
        check=True,
    )
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX signals")
def test_who_starts_it_to_ignore_ctrl_c_is_obeyed(folder: Path) -> None:
    """As with `nohup sacdoctor watch run &` in a script: it goes on when the script is stopped."""
    with subprocess.Popen(
        [*COMMAND, str(folder), "--fail-on", "never", "--interval", "0.05"],
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as child:
        assert child.stdout is not None
        for _ in range(2):
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        shutil.copy(folder / "1_good.zip", folder / "3_late.zip")
        assert "3_late.zip" in child.stdout.readline()
        child.terminate()
        assert child.wait(timeout=10) == -signal.SIGTERM


@pytest.mark.parametrize(
    "arguments", [("missing",), (".", "--interval", "0"), (".", "--select", "X")]
)
def test_wrong_usage_exits_2(run: Run, arguments: tuple[str, ...]) -> None:
    outcome = run("watch", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint.startswith("sacdoctor: ")
