"""What verbs take for bombs: files of less than a megabyte made to hang them, or fill memory.

Every kind of bomb in every place where it can stand, by every verb that looks there
(`tests/bombs`). Named are those that take more than 2 s of a processor or 256 MiB, end in a
traceback, a signal or more than one line. How it is counted: `tests/bombs/running.py`.

    python benchmarks/bombs.py [--only TEXT] [--verbs gate,scan] [--every 4] [--seconds 2]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.bombs.files import bombs, sound_model
from tests.bombs.running import SECONDS, Ended, Runner, needs_torch


def main() -> None:
    """Run all of them, and say what was met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="bombs whose place and kind hold this text")
    parser.add_argument("--verbs", default="", help="these verbs alone, separated by commas")
    parser.add_argument("--every", type=int, default=1, help="one bomb of so many")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    wanted = {*filter(None, asked.verbs.split(","))}
    counted: Counter[str] = Counter()
    longest: dict[str, tuple[Ended, str]] = {}
    most: dict[str, tuple[Ended, str]] = {}
    faulty = 0
    with ExitStack() as stack, tempfile.TemporaryDirectory() as root:
        runners = {
            with_torch: stack.enter_context(Runner(with_torch=with_torch))
            for with_torch in (False, True)
        }
        bare = _bare(runners[True], Path(root))
        for number, bomb in enumerate(bombs()):
            if number % asked.every:
                continue
            called = f"{bomb.kind}, {bomb.place}"
            if asked.only not in called:
                continue
            folder = Path(root, "bomb")
            for verb, arguments in bomb.put(folder):
                if wanted and verb not in wanted:
                    continue
                with_torch = needs_torch(verb)
                ended = runners[with_torch].run(arguments, folder / "run")
                if with_torch:
                    ended = replace(ended, seconds=max(0.0, ended.seconds - bare))
                counted[verb] += 1
                if verb not in longest or ended.seconds > longest[verb][0].seconds:
                    longest[verb] = (ended, called)
                if verb not in most or ended.mib > most[verb][0].mib:
                    most[verb] = (ended, called)
                if faults := ended.faults(asked.seconds):
                    faulty += 1
                    said = ended.complaint.splitlines()[-1:]
                    print(f"{verb}: {called}: {', '.join(faults)}: {said}", flush=True)
            shutil.rmtree(folder)
    print(f"\n{sum(counted.values()):,} pairs of a bomb and a verb, {faulty} over their limits")
    for verb, count in sorted(counted.items()):
        (slow, slow_kind), (large, large_kind) = longest[verb], most[verb]
        print(
            f"{verb:16} {count:5}  {slow.seconds:5.2f} s ({slow_kind})  "
            f"{large.mib:4.0f} MiB ({large_kind})"
        )


def _bare(runner: Runner, root: Path) -> float:
    """Return the seconds that a verb takes to make a live model and look at nothing."""
    path = root / "sound.zip"
    path.write_bytes(sound_model())
    return runner.run(["probe", path], root).seconds


if __name__ == "__main__":
    main()
