"""What pickle scanners say of the same files: the payloads that run, and the honest corpus.

`python benchmarks/scanners.py --scanners BIN` where BIN is the `bin` folder of an environment with
picklescan, modelscan and fickling. Two tables: the files as they lie there, and the bare pickles of
the same payloads, each handed to the tool as a `.pkl`, so that it does not count where a tool looks.

Caught is whatever makes a gate built on the tool fail: an issue (picklescan: a dangerous name;
modelscan: an issue; fickling: anything above `LIKELY_SAFE`; sacdoctor: exit 1), or an error. A file
that the tool skips or does not look into is not caught. `weights_only`: the file's own loader, with
PyTorch's and SB3's present defaults, loads it and no mark is made, or refuses it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ("sacdoctor", "picklescan", "modelscan", "fickling")
PRESENT = ("SAC.load", "PPO.load", "load_replay_buffer", "VecNormalize.load", "torch.load")
"""Loaders with the defaults of today; the others are those of older versions."""


# -- one tool, in its own environment --------------------------------------------------------------


def judge(tool: str) -> None:
    """Read paths from the input; print for each whether the tool catches it."""
    catches = {
        "sacdoctor": _sacdoctor,
        "picklescan": _picklescan,
        "modelscan": _modelscan,
        "fickling": _fickling,
    }[tool]
    warnings.simplefilter("ignore")
    for path in sys.stdin.read().splitlines():
        silent = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            try:
                caught = catches(path)
            except Exception:  # a gate fails on what it cannot read
                caught = True
        print(json.dumps(caught), flush=True)


def _sacdoctor(path: str) -> bool:
    from sacdoctor.cli.main import main

    sys.argv = ["sacdoctor", "scan", "--select", "SD6", path]
    try:
        main()
    except SystemExit as end:
        return end.code not in (0, None)
    return False


def _picklescan(path: str) -> bool:
    from picklescan.scanner import scan_file_path

    result = scan_file_path(path)
    return bool(result.infected_files or result.issues_count or result.scan_err)


def _modelscan(path: str) -> bool:
    from modelscan.modelscan import ModelScan

    scan = ModelScan()
    scan.scan(Path(path))
    return bool(scan.issues.all_issues or scan.errors)


def _fickling(path: str) -> bool:
    """A pickle as it is; of an archive, every member that is one, or is a torch file."""
    import zipfile

    from fickling.analysis import Severity, check_safety
    from fickling.fickle import StackedPickle

    def is_bad(data: bytes) -> bool:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [n for n in archive.namelist() if n.endswith((".pkl", ".pth", ".pt"))]
                return any(is_bad(archive.read(name)) for name in members)
        stacked = StackedPickle.load(io.BytesIO(data))
        return any(check_safety(one).severity > Severity.LIKELY_SAFE for one in stacked)

    return is_bad(Path(path).read_bytes())


# -- all of them -----------------------------------------------------------------------------------


def verdicts(tool: str, bin_: Path, paths: Iterable[Path], folder: Path) -> list[bool]:
    """Return what a tool says of each file."""
    own = tool == "sacdoctor"
    python = sys.executable if own else str(bin_ / "python")
    done = subprocess.run(
        [python, __file__, "--judge", tool],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT) if own else ""},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(bin_: Path, each_in: int | None) -> None:
    """Build both corpora, load the payloads, ask the tools, print the tables."""
    sys.path.insert(0, str(ROOT))
    from tests.payloads.calls import CALLS
    from tests.payloads.crashes import CRASHES
    from tests.payloads.hiding import HIDING
    from tests.payloads.loading import load_all
    from tests.payloads.places import PYTHON_PLACES, payloads, sound_files

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, honest = folder / "payloads", folder / "honest"
        files.mkdir()
        written = list(payloads(files, each_in))
        jobs = [job for payload in written for job in payload.jobs]
        ran: dict[Path, set[str]] = defaultdict(set)
        for job, loaded in load_all(jobs, files, sound_files(files)):
            if loaded.did_harm:
                ran[job.path].add(job.loader)
        harmful = [payload for payload in written if ran[payload.path]]
        groups: dict[str, Callable[[str], bool]] = {
            "functions called by name": lambda kind: kind in CALLS,
            "calls that are hidden": lambda kind: kind in HIDING,
            "classes and code that SB3 calls, crashes, files of two readings": lambda kind: True,
        }
        subprocess.run(
            [sys.executable, ROOT / "tests" / "honest" / "write.py", honest],
            check=True,
            capture_output=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        lists: dict[str, list[Path]] = {group: [] for group in groups}
        for payload in harmful:
            group = next(group for group, holds in groups.items() if holds(payload.kind))
            lists[group].append(payload.path)
        for part in ("sb3", "own"):
            lists[f"honest: {part}"] = sorted(
                path for path in (honest / part).iterdir() if path.is_file()
            )
        bare = [p.path for p in harmful if p.path.suffix == ".pkl" and p.place == "replay buffer"]
        del PYTHON_PLACES, CRASHES
        lists["bare pickles among them"] = bare
        print(f"{len(written)} payload files, of which {len(harmful)} run")
        print(f"{'':64} {'files':>6} " + " ".join(f"{tool:>12}" for tool in (*TOOLS, "weights_only")))
        for group, paths in lists.items():
            told = [sum(verdicts(tool, bin_, paths, folder)) for tool in TOOLS]
            held = (
                sum(not ran[path].intersection(PRESENT) for path in paths)
                if not group.startswith("honest")
                else 0
            )
            print(f"{group:64} {len(paths):6} " + " ".join(f"{n:12}" for n in (*told, held)))


def main() -> None:
    """Compare, or judge as one tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scanners", type=Path, help="the bin folder of the tools' environment")
    parser.add_argument("--judge", choices=TOOLS, help=argparse.SUPPRESS)
    parser.add_argument("--each-in", type=int, help="places of each reader; all where left out")
    given = parser.parse_args()
    if given.judge:
        judge(given.judge)
    else:
        compare(given.scanners, given.each_in)


if __name__ == "__main__":
    main()
