"""What pickle scanners say of the same files: the payloads that run, and the honest corpus.

`python benchmarks/scanners.py --scanners BIN` where BIN is the `bin` folder of an environment with
picklescan, modelscan and fickling.

Named is a file in which a tool finds an issue (picklescan: a dangerous name; modelscan: an issue;
fickling: anything above `LIKELY_SAFE`; sacdoctor: exit 1). Behind the plus stand files about which
a tool says that it cannot read them, or part of them (sacdoctor: exit 2): a gate may fail on those,
and with modelscan it then fails on every checkpoint of SB3. A checkpoint is unpacked for the other
tools, for none of them looks into the archives in an archive: each member is handed over, too. A
bare pickle is one that is all of its file, so that it does not count where a tool looks.

`weights_only` is no scanner: the column counts the files that do no harm under their own loaders
with PyTorch's and SB3's present defaults. Those read pickles of settings, buffers and statistics
without it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ("sacdoctor", "picklescan", "modelscan", "fickling")
PRESENT = (
    *("SAC.load", "SAC.load and a draw", "PPO.load"),
    *("load_replay_buffer", "VecNormalize.load", "torch.load"),
)
"""Loaders with the defaults of today; the others are those of older versions."""


# -- one tool, in its own environment --------------------------------------------------------------

NAMED, UNREAD, SILENT = "named", "unread", "silent"


def judge(tool: str) -> None:
    """Read paths from the input; print for each what the tool says of it."""
    says = {
        "sacdoctor": _sacdoctor,
        "picklescan": _picklescan,
        "modelscan": _modelscan,
        "fickling": _fickling,
    }[tool]
    warnings.simplefilter("ignore")
    for line in sys.stdin.read().splitlines():
        told = set()
        for path in line.split("\t"):
            silent = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
            with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
                try:
                    told.add(says(path))
                except Exception:  # what a tool cannot read ends it
                    told.add(UNREAD)
        print(next(word for word in (NAMED, UNREAD, SILENT) if word in told), flush=True)


def _sacdoctor(path: str) -> str:
    from sacdoctor.cli.main import main

    sys.argv = ["sacdoctor", "scan", "--select", "SD6", path]
    try:
        main()
    except SystemExit as end:
        return {1: NAMED, 2: UNREAD}.get(end.code, SILENT)  # type: ignore[arg-type]
    return SILENT


def _picklescan(path: str) -> str:
    from picklescan.scanner import scan_file_path

    result = scan_file_path(path)
    if result.infected_files or result.issues_count:
        return NAMED
    return UNREAD if result.scan_err else SILENT


def _modelscan(path: str) -> str:
    from modelscan.modelscan import ModelScan

    scan = ModelScan()
    scan.scan(Path(path))
    if scan.issues.all_issues:
        return NAMED
    return UNREAD if scan.errors else SILENT


def _fickling(path: str) -> str:
    """A file of pickles; of a torch file those in it, as its own wrapper takes them out."""
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import StackedPickle

    data = Path(path).read_bytes()
    if data[:1] == b"{":
        return SILENT  # settings: JSON
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pickles = [archive.read(n) for n in archive.namelist() if n.endswith(".pkl")]
    else:
        pickles = [data]
    found = [one for pickle in pickles for one in StackedPickle.load(io.BytesIO(pickle))]
    is_bad = any(check_safety(one).severity > Severity.LIKELY_SAFE for one in found)
    return NAMED if is_bad else SILENT


# -- all of them -----------------------------------------------------------------------------------


def verdicts(tool: str, bin_: Path, paths: Iterable[Path], folder: Path) -> Counter[str]:
    """Return how many files a tool names, cannot read, or says nothing of."""
    own = tool == "sacdoctor"
    python = sys.executable if own else str(bin_ / "python")
    lines = [[path] if own else [path, *_unpacked(path)] for path in paths]
    done = subprocess.run(
        [python, __file__, "--judge", tool],
        input="".join("\t".join(map(str, line)) + "\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT) if own else ""},
    )
    assert len(done.stdout.splitlines()) == len(lines), done.stderr
    return Counter(done.stdout.splitlines())


def _unpacked(path: Path) -> list[Path]:
    """Unpack a checkpoint of SB3 beside it, once, and return its members."""
    folder = path.with_name(f"{path.name}.unpacked")
    if path.suffix != ".zip":
        return []
    if not folder.exists():
        folder.mkdir()
        with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:
            for number, name in enumerate(archive.namelist()):
                data = archive.read(name)
                folder.joinpath(f"{number}-{name.replace('/', '-')}").write_bytes(data)
    return sorted(folder.iterdir())


def compare(bin_: Path, each_in: int | None) -> None:
    """Build both corpora, load the payloads, ask the tools, print the table."""
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written, harmful, ran = _payloads(folder / "payloads", each_in)
        print(
            f"{written} payload files, of which {sum(map(len, harmful.values()))} run", flush=True
        )
        columns = (*TOOLS, "weights_only")
        print(f"{'':44} {'files':>6} " + " ".join(f"{column:>12}" for column in columns))
        for group, paths in harmful.items():
            held = sum(ran[path].isdisjoint(PRESENT) for path in paths)
            _row(group, paths, bin_, folder, str(held))
        for part, paths in _honest(folder / "honest").items():
            _row(f"honest: {part}", paths, bin_, folder, "")


def _row(group: str, paths: list[Path], bin_: Path, folder: Path, last: str) -> None:
    cells = []
    for tool in TOOLS:
        told = verdicts(tool, bin_, paths, folder)
        cells.append(f"{told[NAMED]} + {told[UNREAD]}" if told[UNREAD] else f"{told[NAMED]}")
    line = " ".join(f"{cell:>12}" for cell in (*cells, last))
    print(f"{group:44} {len(paths):6} {line}", flush=True)


Groups = dict[str, list[Path]]


def _payloads(folder: Path, each_in: int | None) -> tuple[int, Groups, dict[Path, set[str]]]:
    """Return how many payloads there are, those that run in groups, and under what each runs."""
    from tests.payloads.calls import CALLS
    from tests.payloads.hiding import HIDING
    from tests.payloads.loading import load_all
    from tests.payloads.places import payloads, sound_files

    folder.mkdir()
    written = list(payloads(folder, each_in))
    ran: dict[Path, set[str]] = defaultdict(set)
    jobs = [job for payload in written for job in payload.jobs]
    for job, loaded in load_all(jobs, folder, sound_files(folder)):
        if loaded.did_harm:
            ran[job.path].add(job.loader)
    groups: Groups = {
        f"{what}, {where}": []
        for what in ("calls by name", "hidden calls")
        for where in ("a bare pickle", "in other files")
    }
    others = "what SB3 calls, crashes, two readings"
    groups[others] = []
    for payload in written:
        if not ran[payload.path]:
            continue
        where = "a bare pickle" if payload.place == "replay buffer" else "in other files"
        group = {
            payload.kind in CALLS: f"calls by name, {where}",
            payload.kind in HIDING: f"hidden calls, {where}",
        }.get(True, others)
        groups[group].append(payload.path)
    return len(written), groups, ran


def _honest(folder: Path) -> Groups:
    subprocess.run(
        [sys.executable, ROOT / "tests" / "honest" / "write.py", folder],
        check=True,
        capture_output=True,
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    words = {"sb3": "SB3's own files", "own": "a user's own code in them"}
    return {
        words[part]: sorted(path for path in (folder / part).iterdir() if path.is_file())
        for part in words
    }


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
