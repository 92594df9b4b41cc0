"""Runs command lines of sacdoctor, each in a process of its own, and tells what they took.

The processes are forked from one that has imported all of sacdoctor and, for some verbs, torch and
SB3: what is counted of each is what it takes beyond that start. Of seconds it is the processor's,
of memory the most that was resident. What whole processes take: `tests/cli/test_bombs.py`.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

SECONDS, MIB = 2.0, 256
"""What each may take."""
_KILLED_AT, _ROOM = 20, 4 * 1024**3
"""Seconds, and bytes, after which a process is ended."""


def needs_torch(verb: str) -> bool:
    """Return whether a verb, as `tests.bombs.files` calls it, makes a live model."""
    return verb.startswith(("probe", "checkup", "fix by it"))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, its complaint, and what it took."""

    code: int
    complaint: str
    seconds: float
    mib: float

    def faults(self, most_seconds: float = SECONDS) -> list[str]:
        """Return in words what is wrong with it."""
        lines = self.complaint.splitlines()
        found = {
            f"exit {self.code}": self.code not in (0, 1, 2),
            "traceback": "Traceback" in self.complaint,
            f"{len(lines)} lines": len(lines) > 1 and "Traceback" not in self.complaint,
            f"a line of {len(self.complaint):,} characters": len(self.complaint) > 1500,
            f"{self.seconds:.1f} s": self.seconds > most_seconds,
            f"{self.mib:.0f} MiB": self.mib > MIB,
        }
        return [words for words, is_so in found.items() if is_so]


class Runner:
    """A process that is ready, and forks one for each command line."""

    def __init__(self, *, with_torch: bool = False) -> None:
        from tests.conftest import child_environment  # which imports torch: not in the runner

        arguments = ["--torch"] if with_torch else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bombs.running", *arguments],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate()

    def run(self, arguments: Sequence[object], folder: Path) -> Ended:
        """Run a command line in a folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"arguments": [*map(str, arguments)], "folder": str(folder)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def _serve(*, with_torch: bool) -> None:
    from sacdoctor.cli.main import main

    if with_torch:
        import_module("stable_baselines3")
    _import_all(with_torch=with_torch)
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile("w+", errors="replace") as complaint:
            child = os.fork()
            if not child:
                _be_child(main, request, complaint.fileno())
            _, status, used = os.wait4(child, 0)
            complaint.seek(0)
            held = _resident()
            ended = {
                "code": os.waitstatus_to_exitcode(status),
                "complaint": complaint.read(100_000).strip(),
                "seconds": used.ru_utime + used.ru_stime,
                "mib": max(0, used.ru_maxrss - held) / 1024,
            }
        print(json.dumps(ended), flush=True)


def _be_child(main: Any, request: dict[str, Any], complaint: int) -> None:
    code = 99
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (_KILLED_AT, _KILLED_AT))
        signal.alarm(2 * _KILLED_AT)
        resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(complaint, 2)
        os.chdir(request["folder"])
        sys.argv = ["sacdoctor", *request["arguments"]]
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 98
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _import_all(*, with_torch: bool) -> None:
    """Import sacdoctor with all of its modules, but for those that need torch or draw."""
    package = import_module("sacdoctor")
    root = Path(package.__path__[0])
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        needs_torch = not {"training", "network", "refit"}.isdisjoint(parts)
        if parts[-1] not in ("__main__", "charts") and (with_torch or not needs_torch):
            import_module(".".join(("sacdoctor", *parts)).removesuffix(".__init__"))


def _resident() -> int:
    """Return the KiB that this process holds now."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


if __name__ == "__main__":
    _serve(with_torch="--torch" in sys.argv)
