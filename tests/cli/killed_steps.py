"""A command killed before each step of its writing: run as a script, prints what was found.

Arguments: the folder, the file that is written there, and the command. Python tells a profiler of
every call of a C function. The child counts those that reach a file, and dies before the one whose
number it was given; the parent looks at what is left, and starts the next child.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from sacdoctor.cli.main import main as sacdoctor

STEPS = {
    *("open", "write", "writelines", "flush", "fsync", "link", "replace", "rename", "unlink"),
    *("chmod", "fchown", "truncate", "close"),
}


def run(arguments: list[str], last: int = 0) -> int:
    """Run the command in a child that dies before its step number `last`; returns its status."""
    pid = os.fork()
    if pid == 0:
        steps = 0

        def count(_frame: Any, event: str, function: Any) -> None:
            nonlocal steps
            if event != "c_call" or function.__name__ not in STEPS:
                return
            # `replace` and its like are methods of texts, too; what is printed is no file.
            if not isinstance(function.__self__, str) and function.__self__ is not sys.stdout:
                steps += 1
                if steps == last:
                    os.kill(os.getpid(), signal.SIGKILL)

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["sacdoctor", *arguments]
        if last:
            threading.setprofile(count)
            sys.setprofile(count)
        with contextlib.suppress(SystemExit):
            sacdoctor()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def main() -> None:
    folder, name, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    os.chdir(folder)
    before = contents(folder)
    sys.argv = ["sacdoctor", *arguments]
    # Here and not in a child: every child inherits the modules that this imports.
    with (
        contextlib.suppress(SystemExit),
        contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())),
    ):
        sacdoctor()
    complete = contents(folder)[name]
    found: dict[str, Any] = {"kills": 0, "old": 0, "new": 0, "litter": 0, "wrong": []}
    finished = retried = False
    while not finished:
        for path in folder.iterdir():
            path.unlink()
        for file, content in before.items():
            (folder / file).write_bytes(content)
        finished = not os.WIFSIGNALED(run(arguments, found["kills"] + 1))
        found["kills"] += not finished
        after = contents(folder)
        written = after.pop(name, None)
        found["old"] += written == before.get(name)
        found["new"] += written == complete
        litter = {file for file in after if file.startswith(".sacdoctor-")}
        found["litter"] += bool(litter)
        if written not in (before.get(name), complete):
            found["wrong"].append(f"kill {found['kills']}: {name} is not whole")
        rest = {file: after[file] for file in after if file not in litter}
        if rest != {file: before[file] for file in before if file != name}:
            found["wrong"].append(f"kill {found['kills']}: other files changed")
        if litter and not retried:
            retried = True
            # What a killed run leaves behind must not be in the way of the next one.
            (folder / name).unlink(missing_ok=True)
            if name in before:
                (folder / name).write_bytes(before[name])
            run(arguments)
            if contents(folder)[name] != complete:
                found["wrong"].append(f"kill {found['kills']}: the next run failed")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
