"""What `sacdoctor probe` costs beside the bare forward passes, in time and in memory.

The time: `probe` of a SAC with two layers of 256 on 10,000 observations of its buffer, against a
process that imports the same packages, loads model and buffer with SB3 and calls actor, critic and
target critic on as many observations. The memory: the peak of `probe` on buffers of growing size,
with as many observations; flat is a slope of 0 bytes per byte of buffer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import SAC

BARE = """
import sys, torch
torch.set_num_threads(1)
from stable_baselines3 import SAC
model = SAC.load(sys.argv[1], device="cpu")
model.load_replay_buffer(sys.argv[2])
observed = torch.as_tensor(model.replay_buffer.observations[:10000, 0])
with torch.no_grad():
    for start in range(0, 10000, 512):
        batch = observed[start : start + 512]
        action = model.actor(batch)
        model.critic(batch, action)
        model.critic_target(batch, action)
"""
PROBE = """
import atexit, sys
def tell():
    # not ru_maxrss, which a child inherits from the process that started it
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
atexit.register(tell)
from sacdoctor.cli.main import main
sys.argv[0] = "sacdoctor"
main()
"""
MIB = 2**20


def _saved(folder: Path, capacity: int, features: int, filled: int) -> Path:
    """Return a checkpoint of a SAC after a few updates, with a buffer of random transitions."""

    class Wide(gym.Env[np.ndarray, np.ndarray]):  # type: ignore[type-arg]
        observation_space = gym.spaces.Box(-1.0, 1.0, (features,), np.float32)
        action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

        def reset(self, *, seed: int | None = None, options: object = None) -> object:
            super().reset(seed=seed)
            return self._drawn(), {}

        def step(self, action: object) -> object:
            return self._drawn(), float(self.np_random.normal()), False, False, {}

        def _drawn(self) -> object:
            return self.np_random.uniform(-1, 1, features).astype(np.float32)

    folder.mkdir()
    model = SAC("MlpPolicy", Wide(), buffer_size=capacity, seed=0, device="cpu").learn(110)
    buffer = model.replay_buffer
    rng = np.random.default_rng(0)
    for array in (buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards):
        for start in range(0, filled, 4096):
            some = array[start : min(start + 4096, filled)]
            some[:] = rng.uniform(-1, 1, some.shape)
    buffer.pos = filled % capacity
    buffer.full = filled == capacity
    model.save(folder / "model.zip")
    model.save_replay_buffer(folder / "model_replay_buffer.pkl")
    return folder / "model.zip"


def _run(*command: str) -> tuple[float, int]:
    """Return the processor time of a command, in seconds, and its peak memory in bytes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as told:
        child = subprocess.Popen(
            [sys.executable, "-c", *command],
            stdout=subprocess.DEVNULL,
            stderr=told,
            env=environment,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        last = told.read().split()[-1:]
    assert child.returncode in (0, 1), (command, last)
    peak = int(last[0]) * 1024 if last and last[0].isdigit() else 0
    return usage.ru_utime + usage.ru_stime, peak


def main() -> None:
    """Print times, their ratio, and the memory for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024], help="in MiB")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = str(_saved(folder / "speed", 10_000, 3, 10_000))
        buffer = path.replace("model.zip", "model_replay_buffer.pkl")
        times: dict[str, list[float]] = {"bare": [], "probe": []}
        for _ in range(arguments.repeats):  # one after the other, as the machine is not still
            times["bare"].append(_run(BARE, path, buffer)[0])
            times["probe"].append(_run(PROBE, "probe", path, "--format", "json")[0])
        bare, probe = (statistics.median(times[what]) for what in ("bare", "probe"))
        print(f"bare {bare:.2f} s, probe {probe:.2f} s, ratio {probe / bare:.2f}")
        peaks = []
        for size in arguments.sizes:
            rows = size * MIB // (2 * 4 * 256)
            start = time.perf_counter()
            path = str(_saved(folder / str(size), rows, 256, rows))
            made = time.perf_counter() - start
            _, peak = _run(PROBE, "probe", path, "--format", "json")
            peaks.append(peak)
            print(f"buffer of {size:,} MiB (made in {made:.0f} s): peak {peak / MIB:.0f} MiB")
            for file in (folder / str(size)).iterdir():
                file.unlink()
        if len(peaks) > 1:
            slope = (peaks[-1] - peaks[0]) / ((arguments.sizes[-1] - arguments.sizes[0]) * MIB)
            print(f"slope {slope:.4f} bytes per byte of buffer")


if __name__ == "__main__":
    main()
