"""What becomes of a verb whose checkpoint is cut off, written over or replaced under its hands.

Each of `scan`, `fix` and `diff` is run so many times as a whole process on a checkpoint of 160 MB,
and at a random moment of each run the file is changed, as a training does that saves over it. What
is counted: runs that end with a sound result (exit 0 or 1, and the same output as on the file as it
was, or as it became), with one line and exit 2, and any others; of these there must be none.

    python benchmarks/changing_files.py [--repeats 200] [--megabytes 160]
"""

from __future__ import annotations

import argparse
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
from pathlib import Path

import numpy as np
import torch as th

CHANGES = ("cut off", "written over", "replaced", "emptied and written anew")
VERBS = ("scan", "fix", "diff")


def save(path: Path, megabytes: float, seed: int) -> None:
    """Save a checkpoint of that size: a network of two layers, and one layer with a dead bias."""
    import json
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


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the arguments of each verb."""
    model, output = str(folder / "model.zip"), str(folder / "out.zip")
    return {
        "scan": ["scan", model, "--format", "json"],
        "fix": ["fix", model, "--output", output, "--force", "--format", "json"],
        "diff": ["diff", str(folder / "other.zip"), model, "--format", "json"],
    }


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


def outcome(verb: str, code: int, out: str, err: str, sound: set[str], output: Path) -> str:
    """Return in a word how a run ended."""
    if code == 2:
        if err.count("\n") != 1 or not err.startswith("sacdoctor: "):
            return f"NOT ONE LINE: {err[:200]}"
        if verb == "fix" and output.exists():
            return "A FILE IS LEFT"
        line = re.sub(r"[\d,]+|/\S+?:", "…", err.strip())
        return "one line: it changed" if "it changed while" in line else f"one line: {line[:90]}"
    if code in (0, 1):
        return "a sound result" if out in sound else f"A WRONG RESULT ({code})"
    return f"ENDED BY {code}: {err[-200:]}"


def main() -> None:
    """Run every verb so often, and print how the runs ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=160)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance, failed = random.Random(asked.seed), False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, was, other = (folder / f"{n}.zip" for n in ("model", "was", "other"))
        output = folder / "out.zip"
        save(was, asked.megabytes, 1)
        save(other, asked.megabytes, 2)
        for verb in VERBS:
            arguments, sound, seconds = commands(folder)[verb], set(), 0.0
            for source in (was, other):
                shutil.copyfile(source, model)
                start = time.perf_counter()
                sound.add(run(arguments)[1])
                seconds = max(seconds, time.perf_counter() - start)
            counts: Counter[str] = Counter()
            for _ in range(asked.repeats):
                output.unlink(missing_ok=True)
                shutil.copyfile(was, model)
                how = chance.choice(CHANGES)
                wait = chance.uniform(0.0, 1.1 * seconds)

                def meanwhile(wait: float = wait, how: str = how) -> None:
                    time.sleep(wait)
                    change(model, other, how, chance)

                counts[outcome(verb, *run(arguments, meanwhile), sound, output)] += 1
            left = [*folder.glob(".sacdoctor-*")]
            print(f"{verb}: {sum(counts.values())} runs, {len(left)} files left behind")
            for what, count in counts.most_common():
                print(f"  {count:4} {what}")
                failed |= what[:2].isupper() or what.startswith(("NOT", "A WRONG", "A FILE"))
    sys.exit(failed)


if __name__ == "__main__":
    main()
