"""Repairs that are killed at random moments: run as a script, prints what was found as JSON.

One process imports what a repair needs and forks a child for each trial, so that the kill falls
into the repair and not into the start of Python. The parent knows the input's digest and the bytes
that a whole repair gives. A third argument is a donor, which must stay as it is, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from sacdoctor.repair import fix


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".sacdoctor-")]


def child(source: Path, output: Path, donor: Path | None) -> int:
    """The process id of a repair that has just begun."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fix(source, output=output, donor=donor)
            code = 0
        finally:
            os._exit(code)
    return pid


def main() -> None:
    source, kills = Path(sys.argv[1]), int(sys.argv[2])
    donor = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    folder = source.parent
    whole, output = folder / "whole.zip", folder / "out.zip"
    fix(source, output=whole, donor=donor)
    read = [path for path in (source, donor) if path is not None]
    before, complete = [digest(path) for path in read], digest(whole)
    start = time.perf_counter()
    os.waitpid(child(source, folder / "timed.zip", donor), 0)
    duration = time.perf_counter() - start
    (folder / "timed.zip").unlink()
    dice = random.Random(0)
    found = {"killed": 0, "while writing": 0, "finished": 0, "wrong": []}
    kept = []
    for trial in range(10 * kills):
        if found["killed"] == kills:
            break
        pid = child(source, output, donor)
        time.sleep(dice.uniform(0.0, duration))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            found["killed"] += 1
        else:  # it is quicker than when it was timed: other work on the machine has ended
            found["finished"] += 1
            duration *= 0.9
        litter = [path for path in leftovers(folder) if path not in kept]
        found["while writing"] += bool(litter)
        if [digest(path) for path in read] != before:
            found["wrong"].append(f"trial {trial}: a file that was read changed")
        if output.exists():
            if digest(output) != complete:
                found["wrong"].append(f"trial {trial}: the output is not whole")
            output.unlink()
        # What the first kills left behind stays in the way of all later runs.
        kept += litter[: 5 - len(kept)]
        for path in litter:
            if path not in kept:
                path.unlink()
    found["litter"] = len(leftovers(folder))
    fix(source, output=output, donor=donor)
    if digest(output) != complete:
        found["wrong"].append("the run after the last kill gave another file")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
