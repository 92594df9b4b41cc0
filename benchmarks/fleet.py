"""Many checkpoints: what one costs, by who looks at it, against bare reading; the client's memory.

    python -m benchmarks.fleet [FOLDER] [--count 2000] [--repeats 3]

Makes distinct copies of the checkpoints in FOLDER (those of fixtures/ unless told otherwise), and
scans them with one process, two, and a Dask cluster of two workers with a thread each, in turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile

from benchmarks.timing import in_turns, machine, run

CHECKPOINTS = Path(__file__).parents[1] / "fixtures" / "checkpoints"
BARE = """
import sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).glob("*.zip")):
    path.read_bytes()
"""
MEASURED = """
import atexit, sys
def peak():
    lines = open("/proc/self/status").read().splitlines()
    print(next(line for line in lines if line.startswith("VmHWM")), file=sys.stderr, flush=True)
atexit.register(peak)
from sacdoctor.cli.main import main
main()
"""
"""What the kernel says of a child's peak begins at its parent's; its own count does not."""
SCAN = (sys.executable, "-c", MEASURED, "scan", "--format", "jsonl", "--exit-zero")


def distinct(source: Path, folder: Path, count: int) -> int:
    """Write so many copies, each with a comment of its own; return their bytes together."""
    originals = sorted(source.rglob("*.zip"))
    for number in range(count):
        copy = folder / f"{number:06}.zip"
        copyfile(originals[number % len(originals)], copy)
        with zipfile.ZipFile(copy, "a") as archive:
            archive.comment = str(number).encode()
    return sum(path.stat().st_size for path in folder.iterdir())


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """Give the address of a scheduler with so many workers, each a process of one thread."""
    from distributed import Client

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        told = ("--scheduler-file", str(file), "--no-dashboard")
        dask = (sys.executable, "-m", "distributed.cli.dask_scheduler")
        worker = (sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny")
        places = ("--nthreads", "1", "--local-directory", folder)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        children = [subprocess.Popen([*dask, "--host", "127.0.0.1", "--port", "0", *told], **quiet)]
        while not file.exists():
            time.sleep(0.05)
        children += [subprocess.Popen([*worker, *told, *places], **quiet) for _ in range(workers)]
        try:
            with Client(scheduler_file=str(file), set_as_default=False) as client:
                client.wait_for_workers(workers)
                address = client.scheduler.address
            yield address
        finally:
            for child in children:
                child.kill()
                child.wait()


def _peak(output: str) -> int:
    """Return the largest of the peaks that a command and its children have told, in MiB."""
    told = [line.split()[1] for line in output.splitlines() if line.startswith("VmHWM")]
    return max(map(int, told)) // 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", nargs="?", type=Path, default=CHECKPOINTS)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as all_, tempfile.TemporaryDirectory() as few:
        size = distinct(given.source, Path(all_), given.count)
        distinct(given.source, Path(few), given.count // 10)
        print(machine("numpy", "distributed"))
        print(f"{given.count:,} checkpoints, {size / given.count / 1e6:.2f} MB each")
        with cluster(2) as scheduler:
            who = {
                "one process": ("--jobs", "1"),
                "two processes": ("--jobs", "2"),
                "Dask, two workers": ("--scheduler", scheduler),
            }
            commands = {name: (*SCAN, *options, all_) for name, options in who.items()}
            commands["bare reading"] = (sys.executable, "-c", BARE, all_)
            timings = in_turns(commands, given.repeats)
            bare = min(timings["bare reading"].seconds)
            for name, timing in timings.items():
                best = min(timing.seconds)
                memory = ""
                if name in who:
                    tenth = run((*SCAN, *who[name], few))[2]
                    memory = f"{_peak(timing.outputs[-1])} MiB, of a tenth {_peak(tenth)} MiB"
                each = 1000 * best / given.count
                print(f"{name:18} {best:7.2f} s {each:6.2f} ms each {best / bare:6.1f} x  {memory}")


if __name__ == "__main__":
    main()
