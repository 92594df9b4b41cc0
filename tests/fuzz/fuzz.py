"""Coverage-guided fuzzing: `python -m tests.fuzz.fuzz TARGET SEEDS --runs 20000`.

Mutants that reach new code become seeds of others (atheris, https://github.com/google/atheris).
A fault is any exception but `SacdoctorError`, an execution over 2 seconds, or memory of the
process over 512 MiB. Each is kept once, by the place it comes from, under `--faults`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import time
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sacdoctor"]):
    from sacdoctor.errors import SacdoctorError
    from tests.fuzz.targets import TARGETS, set_sound

from tests.fuzz.mutation import mutated

MAX_SECONDS, MAX_MIB = 2.0, 512
HOPELESS_SECONDS = 20
"""After which the process is ended from outside; libFuzzer then writes the input down."""


class Watch:
    """Runs a target, counts, and keeps the faults."""

    def __init__(self, name: str, runs: int, faults: Path) -> None:
        self.name, self.runs, self.faults = name, runs, faults
        self.target = TARGETS[name]
        self.count, self.refused, self.slowest = 0, 0, 0.0
        self.found: dict[str, int] = {}
        self.start = time.monotonic()
        self.peak = _peak_mib()

    def __call__(self, data: bytes) -> None:
        self.count += 1
        start = time.process_time()
        try:
            self.target(data)
        except SacdoctorError:
            self.refused += 1
        except BaseException as error:
            self._keep(_place(error), data, traceback.format_exc())
        seconds = time.process_time() - start
        self.slowest = max(self.slowest, seconds)
        if seconds > MAX_SECONDS:
            self._keep("slow", data, f"{seconds:.1f} s")
        peak = _peak_mib()
        if peak > MAX_MIB and peak > self.peak:
            self._keep("memory", data, f"{peak:.0f} MiB")
        self.peak = max(self.peak, peak)
        if self.count >= self.runs:
            self._end()

    def _keep(self, place: str, data: bytes, text: str) -> None:
        self.found[place] = self.found.get(place, 0) + 1
        if self.found[place] == 1:
            self.faults.mkdir(parents=True, exist_ok=True)
            name = f"{self.name}-{place}".replace("/", "_")
            (self.faults / name).write_bytes(data)
            (self.faults / f"{name}.txt").write_text(text)

    def _end(self) -> None:
        summary = {
            "target": self.name,
            "executions": self.count,
            "refused": self.refused,
            "seconds": round(time.monotonic() - self.start, 1),
            "slowest": round(self.slowest, 3),
            "peak_mib": round(self.peak),
            "faults": self.found,
        }
        print(json.dumps(summary), flush=True)
        os._exit(bool(self.found))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _place(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "sacdoctor" in f.filename]
    last = frames[-1] if frames else None
    where = f"{Path(last.filename).name}-{last.lineno}" if last else "outside"
    return f"{type(error).__name__}-{where}"


def main() -> None:
    """Fuzz one target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("seeds", type=Path, help="what tests.fuzz.seeds wrote")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=Path, default=Path("faults"))
    given = parser.parse_args()
    folder = given.seeds / given.target
    seeds = tuple(path.read_bytes() for path in sorted(folder.iterdir()))
    set_sound((given.seeds / "diff" / "seed0").read_bytes())

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        dice = random.Random(seed)
        if dice.random() < 0.05:
            return atheris.Mutate(data, max_size)
        # libFuzzer begins with an empty input, and ends up with inputs that only end early.
        source = data if len(data) > 20 and dice.random() < 0.3 else dice.choice(seeds)
        return mutated(source, dice, seeds)[:max_size]

    options = (
        f"-seed={given.seed}",
        f"-timeout={HOPELESS_SECONDS}",
        "-max_len=65536",
        "-verbosity=0",
    )
    watch = Watch(given.target, given.runs, given.faults)
    atheris.Setup([sys.argv[0], *options, str(folder)], watch, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
