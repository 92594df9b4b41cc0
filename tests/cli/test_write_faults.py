"""Every command that writes, and what goes wrong while it does: the old file, or the whole new one.

A new command that writes is one more line in `WRITERS`.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from tests.archives import write_sb3
from tests.conftest import ROOT, Run, child_environment

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork"),
    pytest.mark.slow,
]

NOBODY = 65_534
SETTINGS = "algorithm: SAC\nlearning_rate: 0.05  # too high\n"


@dataclass(frozen=True)
class Writer:
    """A command, and the file that it writes. `in_place`: that file is what it was given."""

    command: tuple[str, ...]
    written: str
    in_place: bool = False


WRITERS = {
    "fix": Writer(("fix", "model.zip"), "model_FIXED.zip"),
    "fix-output": Writer(("fix", "model.zip", "--output", "out.zip"), "out.zip"),
    "fix-force": Writer(("fix", "model.zip", "--output", "old.zip", "--force"), "old.zip"),
    "fix-config-write": Writer(("fix-config", "a.yml", "--write"), "a.yml", in_place=True),
    "fix-config-output": Writer(("fix-config", "a.yml", "--output", "b.yml"), "b.yml"),
    "warmup-clean": Writer(("warmup", "buffer.pkl", "--clean", "clean.pkl"), "clean.pkl"),
    "scan-output": Writer(("scan", "model.zip", "--output", "report.txt"), "report.txt"),
    "scan-output-again": Writer(
        ("scan", "model.zip", "--format", "json", "--output", "old.json"), "old.json"
    ),
}
TO_OUTPUT = [name for name, writer in WRITERS.items() if "--output" in writer.command]

every = pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)


def with_forced_head() -> bytes:
    """A buffer of SB3's whose first 20 of 60 actions are 0."""
    box = spaces.Box(-1.0, 1.0, (1,))
    buffer = ReplayBuffer(60, box, box, device="cpu")
    for row in range(60):
        action = np.array([[0.0 if row < 20 else 0.5 - row % 7 / 10]])
        buffer.add(action, action, action, np.zeros(1), np.zeros(1), [{}])
    return pickle.dumps(buffer)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that anyone may enter, with everything that the commands read."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        dead = {"fc.weight": th.ones(4, 4), "fc.bias": th.zeros(4)}
        write_sb3(place / "model.zip", dead, {"learning_rate": 0.001})
        (place / "a.yml").write_text(SETTINGS)
        (place / "buffer.pkl").write_bytes(with_forced_head())
        (place / "old.zip").write_bytes(b"an old file")
        (place / "old.json").write_text("an old report")
        monkeypatch.chdir(place)
        yield place


def state(folder: Path) -> dict[str, str]:
    """The digest of each file."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def whole(run: Run, writer: Writer, folder: Path) -> bytes:
    """What the command writes where nothing goes wrong; the folder is as it was afterwards."""
    path = folder / writer.written
    before = path.read_bytes() if path.exists() else None
    assert run(*writer.command).err == ""
    written = path.read_bytes()
    if before is None:
        path.unlink()
    else:
        path.write_bytes(before)
    return written


@every
def test_killed_before_each_step_there_is_the_old_state_or_the_whole_new_one(
    writer: Writer, folder: Path
) -> None:
    script = ROOT / "tests" / "cli" / "killed_steps.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), writer.written, *writer.command],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["old"] >= 5
    assert found["new"] >= 2  # killed after the renaming, and not killed at all
    assert found["litter"] >= 3  # else no kill came while it wrote


@every
@pytest.mark.parametrize("limit", [0, 16])
def test_a_full_disk_is_one_clear_line(
    writer: Writer, limit: int, folder: Path, shell: Run
) -> None:
    before = state(folder)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    outcome = shell(*writer.command, cwd=folder, preexec_fn=small)
    assert outcome.code == 2
    assert writer.written in outcome.complaint
    assert outcome.complaint.endswith("it cannot be written: File too large")
    assert state(folder) == before


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can become nobody")
@every
def test_a_folder_without_permission_is_one_clear_line(
    writer: Writer, folder: Path, run: Run
) -> None:
    whole(run, writer, folder)  # and every module is imported while it can be read
    before = state(folder)
    os.seteuid(NOBODY)
    try:
        outcome = run(*writer.command)
    finally:
        os.seteuid(0)
    assert outcome.code == 2
    assert writer.written in outcome.complaint
    assert outcome.complaint.endswith("it cannot be written: Permission denied")
    assert state(folder) == before


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev,
    reason="needs a second file system",
)
@pytest.mark.parametrize("name", TO_OUTPUT)
def test_another_file_system_is_as_good(name: str, folder: Path, run: Run) -> None:
    writer = WRITERS[name]
    complete = whole(run, writer, folder)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        output = Path(place, "output")
        command = [output if word == writer.written else word for word in writer.command]
        assert run(*command).err == ""
        assert output.read_bytes() == complete
        assert [path.name for path in Path(place).iterdir()] == ["output"]


@pytest.mark.parametrize("name", TO_OUTPUT)
def test_a_link_as_output_stays_a_link(name: str, folder: Path, run: Run) -> None:
    writer = WRITERS[name]
    complete = whole(run, writer, folder)
    (folder / "there").mkdir()
    meant, link = folder / "there" / "meant", folder / writer.written
    link.unlink(missing_ok=True)
    link.symlink_to(meant)  # which does not exist yet
    assert run(*writer.command).err == ""
    assert link.is_symlink()
    assert meant.read_bytes() == complete


@pytest.mark.parametrize("name", TO_OUTPUT)
def test_a_folder_as_output_is_one_clear_line(name: str, folder: Path, run: Run) -> None:
    writer = WRITERS[name]
    (folder / writer.written).unlink(missing_ok=True)
    (folder / writer.written).mkdir()
    outcome = run(*writer.command)
    assert outcome.code == 2
    assert writer.written in outcome.complaint
    assert [*(folder / writer.written).iterdir()] == []


def test_a_report_may_go_into_a_pipe(folder: Path, shell: Run) -> None:
    os.mkfifo(folder / "pipe")
    command = ("scan", "model.zip", "--format", "json", "--output")
    with subprocess.Popen(["cat", "pipe"], cwd=folder, stdout=subprocess.PIPE) as reader:
        assert shell(*command, "pipe", cwd=folder).code == 1
        assert reader.stdout is not None
        through_the_pipe = reader.stdout.read()
    assert (folder / "pipe").is_fifo()
    assert through_the_pipe.decode() == shell(*command[:-1], cwd=folder).out


def start(folder: Path, command: tuple[str, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sacdoctor", *command],
        cwd=folder,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@every
def test_two_at_once_leave_one_whole_file(writer: Writer, folder: Path, run: Run) -> None:
    complete = whole(run, writer, folder)
    before = state(folder)
    both = [start(folder, writer.command) for _ in range(2)]
    outcomes = [(*process.communicate(timeout=60), process.returncode) for process in both]
    assert (folder / writer.written).read_bytes() == complete
    assert {*state(folder)} == {*before, writer.written}
    refused = [(err, code) for _, err, code in outcomes if err]
    if writer.command[0] in ("fix", "warmup") and "--force" not in writer.command:
        ((err, code),) = refused  # exactly one of them wins
        assert code == 2
        assert f"{writer.written}: it exists already" in err
    else:
        assert refused == []


def test_an_interrupted_report_is_none(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of many checkpoints: the report of before stays."""
    from sacdoctor.report.formats.json import scan as scan_json

    honest: Callable[..., Iterator[str]] = scan_json.render

    def interrupted(*arguments: object, **options: object) -> Iterator[str]:
        yield from [*honest(*arguments, **options)][:1]
        raise KeyboardInterrupt

    monkeypatch.setattr(scan_json, "render", interrupted)
    before = state(folder)
    assert run("scan", "model.zip", "--format", "json", "--output", "old.json").code == 130
    assert state(folder) == before
