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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile

import psutil

from benchmarks.timing import in_turns, machine, run

CHECKPOINTS = Path(__file__).parents[1] / "fixtures" / "checkpoints"
BARE = """
import sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).glob("*.zip")):
    path.read_bytes()
"""
MEASURED = """
import atexit, os, sys
def told():
    lines = open("/proc/self/status").read().splitlines()
    print(next(line for line in lines if line.startswith("VmHWM")), file=sys.stderr)
    print("CPU:", sum(os.times()[:4]), file=sys.stderr, flush=True)
atexit.register(told)
from sacdoctor.cli.main import main
main()
"""
"""What the kernel says of a child's peak begins at its parent's; its own count does not. The CPU
time is of the process and of those that it started."""
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
def cluster(workers: int) -> Iterator[tuple[str, list[psutil.Process]]]:
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
            yield address, [psutil.Process(child.pid) for child in children]
        finally:
            for child in children:
                child.kill()
                child.wait()


def _peak(output: str) -> int:
    """Return the peak of memory that a command has told, in MiB."""
    return int(_told(output, "VmHWM:")) // 1024


def _told(output: str, word: str) -> float:
    return float(next(line.split()[1] for line in output.splitlines() if line.startswith(word)))


def _spent(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", nargs="?", type=Path, default=CHECKPOINTS)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # by the clock, so that on a busy machine it takes what it likes
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
    with tempfile.TemporaryDirectory() as all_, tempfile.TemporaryDirectory() as few:
        size = distinct(given.source, Path(all_), given.count)
        distinct(given.source, Path(few), given.count // 10)
        print(machine("numpy", "distributed"))
        print(f"{given.count:,} checkpoints, {size / given.count / 1e6:.2f} MB each")
        with cluster(2) as (scheduler, processes):
            who = {
                "one process": ("--jobs", "1"),
                "two processes": ("--jobs", "2"),
                "Dask, two workers": ("--scheduler", scheduler),
            }
            commands = {name: (*SCAN, *options, all_) for name, options in who.items()}
            commands["bare reading"] = (sys.executable, "-c", BARE, all_)
            timings = in_turns(commands, given.repeats)
            bare = min(timings["bare reading"].seconds)
            before = _spent(processes)
            run(commands["Dask, two workers"])
            elsewhere = _spent(processes) - before
            for name, timing in timings.items():
                best = min(timing.seconds)
                rest = ""
                if name in who:
                    cpu = min(_told(output, "CPU:") for output in timing.outputs)
                    cpu += elsewhere if "Dask" in name else 0.0
                    tenth = run((*SCAN, *who[name], few))[2]
                    rest = f"{1000 * cpu / given.count:6.2f} ms of CPU each, the client's peak "
                    rest += f"{_peak(timing.outputs[-1])} MiB, of a tenth {_peak(tenth)} MiB"
                each = 1000 * best / given.count
                print(f"{name:18} {best:7.2f} s {each:6.2f} ms each {best / bare:6.1f} x  {rest}")


if __name__ == "__main__":
    main()
