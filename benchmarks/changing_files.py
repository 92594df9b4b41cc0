"""What becomes of a verb whose checkpoint is cut off, written over or replaced under its hands.

Each of `scan`, `fix`, `diff`, `history` and `watch` is run so many times as a whole process on a
checkpoint of 160 MB, or on its folder, and at a random moment of each run the file is changed, as a
training does that saves over it. What is counted: runs that end with a sound result (exit 0 or 1,
and the same output as on the file as it was, or as it became), with one line and exit 2, and any
others; of these there must be none. `watch` ends with 1 at the first dead bias: that of the
checkpoint, or where that was cut off, of the one that lands behind it.

    python benchmarks/changing_files.py [--repeats 200] [--megabytes 160] [--verbs history,watch]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch as th

CHANGES = ("cut off", "written over", "replaced", "emptied and written anew")
VERBS = ("scan", "fix", "diff", "history", "watch")


def save(path: Path, megabytes: float, seed: int) -> None:
    """Save a checkpoint of that size: a network of two layers, and one layer with a dead bias."""
    import zipfile

    random_ = np.random.default_rng(seed)
    side = max(8, int((megabytes * 1e6 / 8) ** 0.5))
    policy = {
        f"actor.latent_pi.{at}.{kind}": th.from_numpy(
            random_.normal(size=shape).astype(np.float32) * (kind == "weight" or at == 0)
        )
        for at in (0, 2)
        for kind, shape in (("weight", (side, side)), ("bias", side))
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"num_timesteps": seed, "gamma": 0.99}))
        with archive.open("policy.pth", "w", force_zip64=True) as member:
            th.save(policy, member)
        archive.writestr("_stable_baselines3_version", "2.3.0")


def change(path: Path, other: Path, how: str, chance: random.Random) -> None:
    """Change the file at `path`; `other` is what replaces it, or what is written over it."""
    match how:
        case "cut off":
            os.truncate(path, chance.choice((0, chance.randrange(path.stat().st_size))))
        case "written over":
            with path.open("r+b") as file, other.open("rb") as source:
                shutil.copyfileobj(source, file, 1024**2)
        case "replaced":
            temporary = path.with_name("new")
            shutil.copyfile(other, temporary)
            temporary.replace(path)
        case _:
            shutil.copyfile(other, path)


@dataclass(frozen=True)
class Place:
    """The files of the runs: what is changed, as it was, and what it becomes."""

    folder: Path

    @classmethod
    def with_files(cls, folder: Path, megabytes: float) -> Place:
        """Write the files into `folder`, which is empty."""
        place = cls(folder)
        place.model.parent.mkdir()
        save(place.was, megabytes, 1)
        save(place.other, megabytes, 2)
        save(place.next, 0.01, 3)
        return place

    @property
    def model(self) -> Path:
        """What a verb looks at, alone in its folder."""
        return self.folder / "run" / "model.zip"

    @property
    def was(self) -> Path:
        """What it is before it changes."""
        return self.folder / "was.zip"

    @property
    def other(self) -> Path:
        """What replaces it."""
        return self.folder / "other.zip"

    @property
    def next(self) -> Path:
        """What lands behind it."""
        return self.folder / "next.zip"

    @property
    def output(self) -> Path:
        """What `fix` writes."""
        return self.folder / "out.zip"

    def begin(self, source: Path) -> None:
        """Put everything in place."""
        for path in (self.output, self.model.with_name("next.zip")):
            path.unlink(missing_ok=True)
        shutil.copyfile(source, self.model)

    def go_on(self) -> None:
        """Let the next checkpoint land."""
        shutil.copyfile(self.next, self.folder / "landing")
        (self.folder / "landing").replace(self.model.with_name("next.zip"))


def commands(place: Place) -> dict[str, list[str]]:
    """Return the arguments of each verb."""
    model, output, run = str(place.model), str(place.output), str(place.model.parent)
    return {
        "scan": ["scan", model, "--format", "json"],
        "fix": ["fix", model, "--output", output, "--force", "--format", "json"],
        "diff": ["diff", str(place.other), model, "--format", "json"],
        "history": ["history", run, "--format", "json"],
        "watch": ["watch", run, "--format", "json", "--interval", "0.05"],
    }


def told(verb: str, out: str) -> frozenset[str]:
    """Return what a run printed: of `watch` each line without the time, and none on an error."""
    if verb != "watch":
        return frozenset((out,))
    lines = [json.loads(line) | {"time": None} for line in out.splitlines()]
    return frozenset(json.dumps(line) for line in lines if line["error"] is None)


def sound_results(verb: str, place: Place) -> tuple[frozenset[str], float]:
    """Return what the verb prints of the files when they lie still, and its seconds."""
    found: frozenset[str] = frozenset()
    seconds = 0.0
    sources = (place.was, place.other) + ((place.next,) if verb == "watch" else ())
    for source in sources:
        place.begin(source)
        if source == place.next:
            place.model.replace(place.model.with_name("next.zip"))
        start = time.perf_counter()
        found |= told(verb, run(commands(place)[verb])[1])
        seconds = max(seconds, time.perf_counter() - start)
    return found, seconds


def run(arguments: list[str], meanwhile: Callable[[], None] = lambda: None) -> tuple[int, str, str]:
    """Run the command as a process and do something `meanwhile`; return what it left behind."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(
            [sys.executable, "-m", "sacdoctor", *arguments], stdout=out, stderr=err
        )
        meanwhile()
        code = child.wait(120)
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def outcome(verb: str, code: int, out: str, err: str, sound: frozenset[str], output: Path) -> str:
    """Return in a word how a run ended."""
    if code == 2:
        if err.count("\n") != 1 or not err.startswith("sacdoctor: "):
            return f"NOT ONE LINE: {err[:200]}"
        if verb == "fix" and output.exists():
            return "A FILE IS LEFT"
        line = re.sub(r"[\d,]+|/\S+?:", "…", err.strip())
        return "one line: it changed" if "it changed while" in line else f"one line: {line[:90]}"
    if code in (0, 1):
        return "a sound result" if told(verb, out) <= sound else f"A WRONG RESULT ({code})"
    return f"ENDED BY {code}: {err[-200:]}"


def main() -> None:
    """Run every verb so often, and print how the runs ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", default=",".join(VERBS))
    asked = parser.parse_args()
    chance, failed = random.Random(asked.seed), False
    with tempfile.TemporaryDirectory() as name:
        place = Place.with_files(Path(name), asked.megabytes)
        for verb in asked.verbs.split(","):
            sound, seconds = sound_results(verb, place)
            counts: Counter[str] = Counter()
            for _ in range(asked.repeats):
                place.begin(place.was)
                how = chance.choice(CHANGES)
                wait = chance.uniform(0.0, 1.1 * seconds)

                def meanwhile(verb: str = verb, wait: float = wait, how: str = how) -> None:
                    time.sleep(wait)
                    change(place.model, place.other, how, chance)
                    if verb == "watch":
                        place.go_on()

                ended = run(commands(place)[verb], meanwhile)
                counts[outcome(verb, *ended, sound, place.output)] += 1
            left = [*place.folder.rglob(".sacdoctor-*")]
            print(f"{verb}: {sum(counts.values())} runs, {len(left)} files left behind")
            for what, count in counts.most_common():
                print(f"  {count:4} {what}")
                failed |= what[:2].isupper() or what.startswith(("NOT", "A WRONG", "A FILE"))
    sys.exit(failed)


if __name__ == "__main__":
    main()
