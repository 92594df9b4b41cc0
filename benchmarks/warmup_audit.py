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
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: benchmarks are not installed

from benchmarks.timing import in_turns, machine, run

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


def main() -> None:
    """Time both, and print medians and how they relate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be in memory
        path = Path(folder, "replay_buffer.pkl")
        run((sys.executable, "-c", MAKE, path))
        commands = {
            "audit": (sys.executable, "-m", "sacdoctor", "warmup", path, "--format", "json"),
            "load": (sys.executable, "-c", LOAD, path),
        }
        audit, load = in_turns(commands, repeats).values()
        size = path.stat().st_size / 1e6
    found = json.loads(audit.outputs[0])["forced_head"]
    alone = median(map(float, load.outputs))
    print(machine("torch", "numpy", "stable-baselines3"))
    print(f"buffer of {size:.0f} MB, medians of {repeats} runs; forced head found: {found}\n")
    print("| what | seconds | peak memory, MiB |")
    print("| --- | ---: | ---: |")
    print(f"| `sacdoctor warmup`, whole process | {audit.median:.2f} | {audit.peak_mib:,} |")
    print(f"| `pickle.load`, whole process | {load.median:.2f} | {load.peak_mib:,} |")
    print(f"| of that, `pickle.load` without the import of SB3 | {alone:.2f} | |")
    ratio = load.median / audit.median
    print(f"\npickle.load takes {ratio:.1f} times as long (aim: at least {AIM:g});")
    print(
        f"without the import of SB3 {alone / audit.median:.1f} times. "
        f"Memory: at most {MOST_MIB} MiB."
    )


if __name__ == "__main__":
    main()
