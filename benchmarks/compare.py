"""`scan` and `diff` beside what a person would run instead, and how they grow.

Whole processes in turns, the files in the page cache, medians; ratios are to `sacdoctor`, or to
bare numpy where it says so. Each rival reads the same checkpoint:

- bare numpy: every storage record read with `zipfile`, its zeros counted; it knows no names,
  no settings and no causes, and is the least that anything could take;
- a `torch.load(weights_only=True)` loop over the members, the zeros of each bias counted;
- SB3's own loader (`load_from_zip_file`), which executes what is pickled in `data`;
- picklescan, which looks for dangerous names and at no number;
- model-clinic, another checker of weights, where `--clinic` names its command; it opens no SB3
  zip, so it gets the `policy.pth` inside.

    python benchmarks/compare.py [--repeats 7] [--clinic model-clinic] [scan|size|files|diff ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: benchmarks are not installed

from benchmarks.timing import in_turns, machine

PYTHON = sys.executable
SACDOCTOR = (PYTHON, "-m", "sacdoctor")

BARE = """
import glob, io, sys, zipfile
import numpy as np
for path in sys.argv[1:]:
    zeros = 0
    outer = zipfile.ZipFile(path)
    for name in outer.namelist():
        content = outer.read(name)
        if content[:2] == b"PK":
            inner = zipfile.ZipFile(io.BytesIO(content))
            for record in inner.namelist():
                if "/data/" in record:
                    values = np.frombuffer(inner.read(record), "<f4")
                    zeros += values.size - np.count_nonzero(values)
    print(zeros)
"""
TORCH_LOAD = """
import io, sys, zipfile
import torch as th
for path in sys.argv[1:]:
    archive = zipfile.ZipFile(path)
    for name in archive.namelist():
        if name.endswith(".pth"):
            state = th.load(io.BytesIO(archive.read(name)), weights_only=True, map_location="cpu")
            if name == "policy.pth":
                print({key: int((x == 0).sum()) for key, x in state.items() if "bias" in key})
"""
SB3_LOADER = """
import sys
from stable_baselines3.common.save_util import load_from_zip_file
for path in sys.argv[1:]:
    data, states, variables = load_from_zip_file(path, device="cpu")
    print({key: int((x == 0).sum()) for key, x in states["policy"].items() if "bias" in key})
"""
TORCH_DIFF = """
import io, sys, zipfile
import torch as th
states = []
for path in sys.argv[1:]:
    archive = zipfile.ZipFile(path)
    states.append({
        name: th.load(io.BytesIO(archive.read(name)), weights_only=True, map_location="cpu")
        for name in archive.namelist() if name.endswith(".pth")
    })
a, b = (state["policy.pth"] for state in states)
print([name for name in a if not th.equal(a[name], b[name])])
"""
MAKE_SAC = """
import sys
from stable_baselines3 import SAC
width = int(sys.argv[2])
SAC(
    "MlpPolicy", "Pendulum-v1", buffer_size=1, device="cpu",
    policy_kwargs={"net_arch": [width, width]},
).save(sys.argv[1])
"""
"""In a process of its own: a child's peak memory begins at its parent's."""
WIDTHS = {"1 MB": 220, "10 MB": 705, "100 MB": 2_234, "1 GB": 7_068}
"""Of both hidden layers of SAC's five networks."""
COUNTS = (1, 10, 100, 500)


def main() -> None:
    """Run the parts that are asked for, and print their tables."""
    parts: dict[str, Callable[[Path, int, str | None], None]] = {
        "scan": against_rivals,
        "size": over_size,
        "files": over_files,
        "diff": diff,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="all, where none is given")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clinic", help="the command of model-clinic, in its own environment")
    arguments = parser.parse_args()
    print(machine("torch", "numpy", "stable-baselines3", "picklescan"))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be in memory
        for part in arguments.parts or parts:
            parts[part](Path(folder), arguments.repeats, arguments.clinic)


def full_size(folder: Path) -> Path:
    """Return the policy of the report in its full size, trained for a moment."""
    path = folder / "two_head_broken.zip"
    if not path.exists():
        command = (PYTHON, "-m", "fixtures.make", "--size", "full", "--out", folder)
        subprocess.run([*map(str, command), "--only", path.stem], check=True)
    return path


def against_rivals(folder: Path, repeats: int, clinic: str | None) -> None:
    """Time a scan of one checkpoint beside all the others."""
    path = full_size(folder)
    commands = {
        "`sacdoctor scan --format json`": (*SACDOCTOR, "scan", "--format", "json", path),
        "`sacdoctor scan --select SD6`": (*SACDOCTOR, "scan", "--select", "SD6", path),
        "bare numpy": (PYTHON, "-c", BARE, path),
        "`torch.load` loop": (PYTHON, "-c", TORCH_LOAD, path),
        "SB3's loader": (PYTHON, "-c", SB3_LOADER, path),
        "picklescan": (PYTHON, "-m", "picklescan", "--path", path),
    }
    if clinic:
        with zipfile.ZipFile(path) as archive:
            policy = archive.extract("policy.pth", folder)
        commands["`model-clinic exam policy.pth`"] = (clinic, "exam", policy)
    timings = in_turns(commands, repeats)
    own = next(iter(timings.values())).median
    print(f"\n{path.stat().st_size / 1e6:.0f} MB, medians of {repeats} runs\n")
    print("| what | seconds | times sacdoctor | peak MiB |\n| --- | ---: | ---: | ---: |")
    for name, taken in timings.items():
        print(f"| {name} | {taken.median:.3f} | {taken.median / own:.2f} | {taken.peak_mib} |")


def over_size(folder: Path, repeats: int, clinic: str | None) -> None:
    """Time scans of larger and larger checkpoints."""
    print("\n| checkpoint | scan, s | peak MiB | times bare numpy | `torch.load` loop |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for size, width in WIDTHS.items():
        path = folder / "sized.zip"
        subprocess.run([PYTHON, "-c", MAKE_SAC, path, str(width)], check=True)
        commands = {
            "scan": (*SACDOCTOR, "scan", "--format", "json", path),
            "bare": (PYTHON, "-c", BARE, path),
            "torch": (PYTHON, "-c", TORCH_LOAD, path),
        }
        scan, bare, torch = in_turns(commands, repeats).values()
        print(
            f"| {size} | {scan.median:.3f} | {scan.peak_mib} | {scan.median / bare.median:.2f} "
            f"| {torch.median:.2f} s, {torch.peak_mib:,} MiB |"
        )
        path.unlink()


def over_files(folder: Path, repeats: int, clinic: str | None) -> None:
    """Time scans of more and more checkpoints in one call."""
    sources = {
        "17 MB": full_size(folder),
        "0.4 MB": Path(__file__).parents[1] / "fixtures/checkpoints/two_head_broken.zip",
    }
    print("\n| checkpoints | scan, s | peak MiB | ms each | times bare numpy |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for size, source in sources.items():
        for count in COUNTS:
            many = folder / f"{source.stat().st_size}_{count}"
            many.mkdir()
            paths = [many / f"{number}.zip" for number in range(count)]
            for path in paths:
                path.symlink_to(source)
            commands = {
                "scan": (*SACDOCTOR, "scan", "--format", "json", many),
                "bare": (PYTHON, "-c", BARE, *paths),
            }
            scan, bare = in_turns(commands, repeats if count < 100 else min(3, repeats)).values()
            print(
                f"| {count} of {size} | {scan.median:.2f} | {scan.peak_mib} "
                f"| {1000 * scan.median / count:.0f} | {scan.median / bare.median:.2f} |"
            )


def diff(folder: Path, repeats: int, clinic: str | None) -> None:
    """Time the comparison of a checkpoint with its repaired copy."""
    path = full_size(folder)
    fixed = folder / "fixed.zip"
    subprocess.run(
        [*SACDOCTOR, "fix", path, "--output", fixed, "--force"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    commands = {
        "`sacdoctor diff --format json`": (*SACDOCTOR, "diff", path, fixed, "--format", "json"),
        "`torch.load` of both, `torch.equal`": (PYTHON, "-c", TORCH_DIFF, path, fixed),
    }
    timings = in_turns(commands, repeats)
    own = next(iter(timings.values())).median
    print("\n| what | seconds | times sacdoctor | peak MiB |\n| --- | ---: | ---: | ---: |")
    for name, taken in timings.items():
        print(f"| {name} | {taken.median:.3f} | {taken.median / own:.2f} | {taken.peak_mib} |")


if __name__ == "__main__":
    main()
