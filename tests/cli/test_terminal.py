"""The command at a terminal, in a pipe, and interrupted."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch as th

from tests.archives import write_sb3
from tests.conftest import Run, child_environment

pytestmark = pytest.mark.slow

pty = pytest.importorskip("pty", reason="needs pseudo terminals")

COMMAND = [sys.executable, "-m", "sacdoctor", "scan"]
ESCAPE = "\x1b"
BAR = "scanning"


def at_terminal(
    *arguments: object,
    columns: int = 80,
    both: bool = True,
    environment: dict[str, str] | None = None,
) -> tuple[int, str, str]:
    """Exit code, what the terminal showed, and what went to a pipe.

    Stderr is the terminal; stdout too if `both`, else a pipe.
    """
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=theirs if both else subprocess.PIPE,
        stderr=theirs,
        env=child_environment(**{"TERM": "xterm-256color", **(environment or {})}),
    ) as child:
        os.close(theirs)
        shown = _drain(ours)
        piped = child.stdout.read().decode() if child.stdout is not None else ""
    return child.returncode, shown, piped


def _drain(terminal: int) -> str:
    shown = b""
    with closing(os.fdopen(terminal, "rb", buffering=0)) as stream:
        while select.select([stream], [], [], 60)[0]:
            try:
                piece = stream.read(65_536)
            except OSError:  # Linux reports the end of a terminal so
                break
            if not piece:
                break
            shown += piece
    return shown.decode()


def lines(shown: str) -> list[str]:
    """The lines as a person sees them, and those that were overwritten."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))


# -- colour ------------------------------------------------------------------------------------


def test_terminal_gets_colour(broken: Path) -> None:
    code, shown, _ = at_terminal(broken)
    assert code == 1
    assert f"{ESCAPE}[1;31m" in shown  # bold red


def test_pipe_gets_plain_text(shell: Run, broken: Path) -> None:
    outcome = shell("scan", broken)
    assert outcome.code == 1
    assert ESCAPE not in outcome.out + outcome.err


def test_no_color_gets_plain_text_at_a_terminal(broken: Path) -> None:
    code, shown, _ = at_terminal(broken, environment={"NO_COLOR": "1"})
    assert code == 1
    assert ESCAPE not in shown
    assert "28 of 64" in shown


def test_dumb_terminal_gets_plain_text(broken: Path) -> None:
    _, shown, _ = at_terminal(broken, environment={"TERM": "dumb"})
    assert ESCAPE not in shown


def test_output_file_gets_plain_text(tmp_path: Path, broken: Path) -> None:
    code, shown, _ = at_terminal(broken, "--output", tmp_path / "report.txt")
    assert (code, shown) == (1, "")
    assert ESCAPE not in (tmp_path / "report.txt").read_text(encoding="utf-8")


def test_json_is_the_same_at_a_terminal(shell: Run, broken: Path) -> None:
    _, shown, _ = at_terminal(broken, "--format", "json")
    assert shown.replace("\r\n", "\n") == shell("scan", broken, "--format", "json").out


# -- width -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--all",)], ids=["biases", "all"])
@pytest.mark.parametrize("columns", [80, 100])
def test_no_line_is_longer_than_the_terminal(
    full_two_head: Path, columns: int, options: tuple[str, ...]
) -> None:
    link = Path("model.zip")  # a path longer than the terminal is a line longer than it
    link.symlink_to(full_two_head)
    _, shown, _ = at_terminal(link, *options, columns=columns)
    assert max(map(len, lines(shown))) <= columns
    assert any("28 of 64 bias tensors are 100 % zero" in line for line in lines(shown))


@pytest.mark.parametrize("columns", [1, 20, 40])
def test_narrow_terminal_is_no_traceback(broken: Path, columns: int) -> None:
    code, shown, _ = at_terminal(broken, columns=columns)
    assert code == 1
    assert "Traceback" not in shown


def test_names_are_not_broken_in_a_pipe(shell: Run, tmp_path: Path) -> None:
    """Whoever greps for a tensor finds it."""
    name = "features_extractor.extractors.screen.convolutional_trunk.block_3.project_out.bias"
    path = write_sb3(tmp_path / "m.zip", {name: th.zeros(4)})
    assert name in shell("scan", path).out


# -- progress ----------------------------------------------------------------------------------


def test_many_files_show_progress_at_a_terminal(many: Path) -> None:
    code, shown, piped = at_terminal(many, both=False)
    assert code == 0
    assert BAR in shown
    assert "6 checkpoints: 6 healthy" in piped
    assert BAR not in piped


def test_few_files_show_no_progress(healthy: Path) -> None:
    assert at_terminal(healthy, both=False)[1] == ""


def test_no_progress_without_a_terminal(shell: Run, many: Path) -> None:
    assert shell("scan", many).err == ""


def test_complaint_is_a_line_of_its_own_beside_the_progress(many: Path) -> None:
    (many / "bad.zip").write_bytes(b"no zip")
    code, shown, _ = at_terminal(many, both=False, columns=300)
    assert code == 2
    complaint = f"sacdoctor: {many / 'bad.zip'}: it is neither a zip nor"
    assert [line for line in lines(shown) if line.startswith(complaint)]


# -- names that nobody vouches for -------------------------------------------------------------


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    title = f"{ESCAPE}]0;owned\x07{ESCAPE}[2J\x9b2J"
    path = write_sb3(tmp_path / f"{ESCAPE}[2J.zip", {f"{title}.bias": th.zeros(4)})
    _, shown, _ = at_terminal(path, "--all", environment={"NO_COLOR": "1"})
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", shown)
    assert "owned" in "".join(lines(shown))


def test_path_that_is_no_text_can_be_named(shell: Run, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    try:
        with open(folder + b"/\xff.zip", "wb") as file:  # noqa: PTH123
            file.write(b"no zip")
    except OSError:
        pytest.skip("this file system takes only text")
    outcome = shell("scan", tmp_path)
    assert outcome.code == 2
    assert outcome.complaint.endswith("it is neither a zip nor a file that torch.save wrote")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_stdout_will_do(shell: Run, tmp_path: Path, encoding: str) -> None:
    path = write_sb3(tmp_path / "名前.zip", {"größe.名.bias": th.zeros(4)})
    environment = child_environment(PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    outcome = shell("scan", path, env=environment, encoding=encoding)
    assert (outcome.code, outcome.err) == (1, "")
    assert "CRITICAL" in outcome.out


# -- endings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["table", "json"])
def test_reader_that_leaves_early_is_no_error(
    tmp_path: Path, healthy_bytes: bytes, format: str
) -> None:
    for number in range(12):
        (tmp_path / f"{number}.zip").write_bytes(healthy_bytes)
    with subprocess.Popen(
        [*COMMAND, str(tmp_path), "--all", "--format", format],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(),
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("format", ["table", "json"])
def test_full_disk_is_one_line(broken: Path, format: str) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*COMMAND, str(broken), "--format", format],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(),
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


SLOW = """
import sys, time
import sacdoctor.fleet.look as look
def scan(*_):
    print("started", file=sys.stderr, flush=True)
    time.sleep(60)
look.scan = scan
from sacdoctor.cli.main import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
@pytest.mark.parametrize("format", ["table", "json"])
def test_interrupt_exits_130_without_a_traceback(broken: Path, format: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, "scan", str(broken), "--format", format],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(),
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "started\n"
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
    assert child.returncode == 130
    assert "Traceback" not in rest
    assert rest.count("\n") <= 1


# -- speed -------------------------------------------------------------------------------------


def test_a_scan_takes_less_than_importing_torch(shell: Run, healthy: Path) -> None:
    def seconds(run: Callable[[], Any]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    ours = min(seconds(lambda: shell("scan", healthy)) for _ in range(3))
    torch = [sys.executable, "-c", "import torch"]
    assert ours < seconds(lambda: subprocess.run(torch, check=True, env=child_environment()))
