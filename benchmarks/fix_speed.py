"""How long `fix` of a checkpoint of 100 MB takes, beside a plain copy of it.

`fix` runs as a whole process; the copy is `shutil.copyfile` and an fsync, its source in the page
cache. What does not depend on the size is timed beside it: the start of the command
(`sacdoctor --version`), and `fix` of the same networks a few units wide. All are timed in turns.
The aim: `fix` costs at most 1.5 times the copy plus the start. What it does beyond copying is to
check every checksum of the old file and of the new one; so how it compares depends on how fast
the disk takes a copy, and the disk's speed is printed too.

    python benchmarks/fix_speed.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch as th
from stable_baselines3 import SAC

AIM = 1.5
WIDTH, SMALL = 1_500, 8
"""Of both hidden layers: SAC with its targets and moments then takes 100 MB, or next to nothing."""


def make(path: Path, width: int = WIDTH) -> None:
    """Save a SAC model, trained for a moment, with all its biases at zero."""
    model = SAC(
        "MlpPolicy",
        "Pendulum-v1",
        learning_starts=10,
        batch_size=8,
        buffer_size=100,
        device="cpu",
        policy_kwargs={"net_arch": [width, width]},
    ).learn(20)
    with th.no_grad():
        for name, parameter in model.policy.named_parameters():
            if "bias" in name:
                parameter.zero_()
    model.save(path)


def copy(source: Path, target: Path) -> None:
    """Copy, down to the disk."""
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def sacdoctor(*arguments: object) -> None:
    """Run the command as a whole process."""
    command = [sys.executable, "-m", "sacdoctor", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def timed(action: Callable[[], None]) -> float:
    """Seconds that `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    """Time all three, and print medians and how they relate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be in memory
        source, small, output = (Path(folder, f"{n}.zip") for n in ("model", "small", "out"))
        make(source)
        make(small, SMALL)
        actions: dict[str, Callable[[], None]] = {
            "plain copy with fsync": lambda: copy(source, output),
            "`sacdoctor --version`": lambda: sacdoctor("--version"),
            "`sacdoctor fix`, small": lambda: sacdoctor("fix", small, "--output", output),
            "`sacdoctor fix`": lambda: sacdoctor("fix", source, "--output", output),
        }
        times: dict[str, list[float]] = {name: [] for name in actions}
        for turn in range(repeats + 1):
            for name, action in actions.items():
                taken = timed(action)
                output.unlink(missing_ok=True)
                if turn:  # the first turn fills caches
                    times[name].append(taken)
        size = source.stat().st_size / 1e6
    seconds = {name: median(taken) for name, taken in times.items()}
    copying, start, little, fixing = seconds.values()
    print(f"checkpoint of {size:.0f} MB, medians of {repeats} runs\n")
    print("| what | seconds |")
    print("| --- | ---: |")
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.3f} |")
    print(f"\nThe copy ran at {size / copying:,.0f} MB/s.")
    for name, base in (("--version", start), ("a small fix", little)):
        ratio = (fixing - base) / copying
        print(f"fix beyond {name}: {ratio:.1f} times the copy (aim: at most {AIM})")
    slow = (fixing - copying - little) / (AIM - 1)
    print(
        f"Beyond copying and a small fix it takes {fixing - copying - little:.2f} s: within the "
        f"aim where a copy takes {slow:.2f} s or more ({size / slow:,.0f} MB/s or less)."
    )


if __name__ == "__main__":
    main()
