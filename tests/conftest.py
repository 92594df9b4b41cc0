"""What every test may ask for: the command line, and the reference checkpoints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch as th

from fixtures.make import CHECKPOINTS, make
from sacdoctor.cli.main import main
from tests.kept import Kept, cache_folder
from tests.labelled import Labelled
from tests.runs import Runs

ROOT = Path(__file__).parents[1]

th.set_num_threads(1)


@dataclass(frozen=True)
class Outcome:
    """What one run of the command left behind."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr; fails where there is not exactly one."""
        assert self.err.endswith("\n"), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removesuffix("\n")


Run = Callable[..., Outcome]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for what must be trained first is slow."""
    for item in items:
        if {"kept", "patients", "saved_agent"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _neutral(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the machine, and no settings file of the project, reach a test."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _heeded_sigint() -> Iterator[None]:
    """Ctrl-C ends the children of a test, even if the tests were started to ignore it.

    So starts `nohup pytest &` in a script, and who is started so must go on ignoring it: a child
    with the signal ignored is right to do nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command within this process."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sacdoctor", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        code = exit.value.code
        captured = capsys.readouterr()
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


@pytest.fixture
def shell(tmp_path: Path) -> Run:
    """Runs the command as a person would: in a process of its own."""

    def call(*arguments: object, **options: Any) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "sacdoctor", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            **{"cwd": tmp_path, "env": child_environment(), "timeout": 60, **options},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


def child_environment(**extra: str) -> dict[str, str]:
    """The environment of a child process that finds the package under test."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, **extra}


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Folders of trained files, each trained once per state of fixtures/."""
    folder = tmp_path_factory.mktemp("kept")
    try:
        return Kept(cache_folder(), folder)
    except OSError:  # no such folder can be had: train once per run
        return Kept(tmp_path_factory.mktemp("cache"), folder)


@pytest.fixture(scope="session")
def full_two_head(kept: Kept) -> Path:
    """`TwoHeadV11Sigmoid` in the sizes of the report, trained with its fault."""
    name = "two_head_broken"
    return kept("full", lambda folder: make(name, "full", folder)) / f"{name}.zip"


@pytest.fixture(scope="session")
def labelled(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    """The benchmark of checkpoints whose faults are known, each built when first asked for."""
    return Labelled(kept, tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="session")
def runs(kept: Kept) -> Runs:
    """Folders of small trainings with known faults, each trained when first asked for."""
    return Runs(kept)


@pytest.fixture(scope="session")
def broken() -> Path:
    """The same policy in small, as committed."""
    return CHECKPOINTS / "two_head_broken.zip"


@pytest.fixture(scope="session")
def healthy() -> Path:
    """The small policy with its optimizer created last, as committed."""
    return CHECKPOINTS / "two_head_fixed.zip"


@pytest.fixture(scope="session")
def healthy_bytes(healthy: Path) -> bytes:
    return healthy.read_bytes()


@pytest.fixture
def many(tmp_path: Path, healthy_bytes: bytes) -> Iterator[Path]:
    """A folder of six checkpoints: enough for a progress bar."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(6):
        (folder / f"rl_model_{number}_steps.zip").write_bytes(healthy_bytes)
    yield folder
