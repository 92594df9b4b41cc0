"""How long `sacdoctor warmup` of a replay buffer of 700 MB takes, beside `pickle.load` of it.

The buffer is SB3's: room for a million transitions, of which 20,000 are filled, the first 5,000
with actions that the environment did not carry out. Each way runs as a whole process, in turns,
with the file in the page cache. `pickle.load` has to import stable_baselines3, and with it torch,
to make the buffer; its time alone, measured inside of that process, is printed too.

    python benchmarks/warmup_audit.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

AIM, MOST_MIB = 10.0, 300
CAPACITY, STEPS, FORCED = 1_000_000, 20_000, 5_000
FRAMES = 17
"""Observations stacked: 85 numbers each, so that the arrays take 700 MB."""

MAKE = f"""
import sys
import gymnasium as gym
from stable_baselines3 import SAC
from fixtures.environments import Tracking
from sacdoctor.training import ForcedActionWarmup
env = gym.wrappers.FrameStackObservation(ForcedActionWarmup(Tracking(), {FORCED}), {FRAMES})
model = SAC(
    "MlpPolicy", env, buffer_size={CAPACITY}, learning_starts={STEPS}, device="cpu", seed=1
)
model.learn({STEPS})
model.save_replay_buffer(sys.argv[1])
"""
"""Nothing is updated. In a process of its own: a child's peak memory begins at its parent's."""

LOAD = """
import pickle, sys, time
import stable_baselines3.common.buffers
start = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    buffer = pickle.load(file)
print(time.perf_counter() - start)
"""


def run(*command: str) -> tuple[float, int, str]:
    """Return seconds, peak memory in MiB and output of a process."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - start, usage.ru_maxrss // 1024, out


def main() -> None:
    """Time both, and print medians and how they relate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    audits: list[tuple[float, int, str]] = []
    loads: list[tuple[float, int, str]] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be in memory
        path = Path(folder, "replay_buffer.pkl")
        run("-c", MAKE, str(path))
        for turn in range(repeats + 1):
            audit = run("-m", "sacdoctor", "warmup", str(path), "--format", "json")
            load = run("-c", LOAD, str(path))
            if turn:  # the first turn fills caches
                audits.append(audit)
                loads.append(load)
        size = path.stat().st_size / 1e6
    found = json.loads(audits[0][2])["forced_head"]
    auditing, loading = (median(seconds for seconds, _, _ in runs) for runs in (audits, loads))
    alone = median(float(out) for _, _, out in loads)
    print(f"buffer of {size:.0f} MB, medians of {repeats} runs; forced head found: {found}\n")
    print("| what | seconds | peak memory, MiB |")
    print("| --- | ---: | ---: |")
    most = max(peak for _, peak, _ in audits)
    print(f"| `sacdoctor warmup`, whole process | {auditing:.2f} | {most:,} |")
    print(f"| `pickle.load`, whole process | {loading:.2f} | {max(p for _, p, _ in loads):,} |")
    print(f"| of that, `pickle.load` without the import of SB3 | {alone:.2f} | |")
    print(f"\npickle.load takes {loading / auditing:.1f} times as long (aim: at least {AIM:g});")
    print(
        f"without the import of SB3 {alone / auditing:.1f} times. Memory: at most {MOST_MIB} MiB."
    )


if __name__ == "__main__":
    main()
