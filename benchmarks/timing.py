"""Whole processes, timed in turns: what a person waits for, with start-up and peak memory."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import median

_KEPT = 10_000
"""Bytes of output that are kept."""


@dataclass
class Timing:
    """What the runs of one command took. A child's peak memory begins at its parent's."""

    seconds: list[float] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    peak_mib: int = 0

    @property
    def median(self) -> float:
        return median(self.seconds)


def in_turns(commands: Mapping[str, Sequence[object]], repeats: int) -> dict[str, Timing]:
    """Run each command once in every turn; the first turn, which fills caches, is not counted."""
    timings = {name: Timing() for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            seconds, peak_mib, output = run(command)
            if turn:
                timings[name].seconds.append(seconds)
                timings[name].peak_mib = max(timings[name].peak_mib, peak_mib)
                timings[name].outputs.append(output)
    return timings


def run(command: Sequence[object]) -> tuple[float, int, str]:
    """Return the seconds, the peak memory in MiB and the end of the output of one process.

    Exits with 2 or more end the benchmark: 1 is what commands that found something say.
    """
    with tempfile.TemporaryFile() as out:  # a child's peak memory begins at its parent's
        start = time.perf_counter()
        child = subprocess.Popen([*map(str, command)], stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        out.seek(max(0, out.tell() - _KEPT))
        output = out.read().decode(errors="replace")
    if child.returncode not in (0, 1) or "Traceback (most recent call last)" in output:
        raise SystemExit(f"{command[0]} failed with {child.returncode}:\n{output}")
    return seconds, usage.ru_maxrss // 1024, output


def machine(*packages: str) -> str:
    """Return one line on the machine and the versions of these packages."""
    known = []
    for package in packages:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    python = f"Python {platform.python_version()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.machine()}, {', '.join([python, *known])}"
