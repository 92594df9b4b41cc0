"""A file that is cut off, written over or replaced under a verb: one line, or a sound result."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from benchmarks.changing_files import (
    CHANGES,
    VERBS,
    Place,
    change,
    commands,
    outcome,
    run,
    save,
    sound_results,
)
from fixtures.make import CHECKPOINTS
from tests.conftest import ROOT, child_environment

pytestmark = pytest.mark.slow

GUARDED = """
import ctypes, faulthandler, json, mmap, sys
from pathlib import Path
import sacdoctor.files as files
from sacdoctor.files import held

faulthandler.enable()
PAGE, system = mmap.PAGESIZE, ctypes.CDLL(None)

def allow(start, end, how):
    if start < end:
        assert not system.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(end - start), how)

def begun(of, begun=held._begun):
    pinned = []
    held.pin = pinned.append
    view = begun(of)
    held.pin = files.pin
    start = view.obj.address
    allow(start, start - -len(view) // PAGE * PAGE, 0)
    for part in pinned:
        files.pin(part)
    return view

def pin(view, pin=held.pin):
    if isinstance(view.obj, held._Held) and len(view):
        start = view.obj.address + view.obj.offset(view)
        end = start + len(view)
        allow(start - start % PAGE, end + -end % PAGE, 3)
    pin(view)

def unpin(view, unpin=held.unpin):
    held_ = view.obj
    unpin(view)
    if isinstance(held_, held._Held) and len(view):
        start = held_.offset(view)
        end = min(start + len(view), len(held_) - held._PINNED_ENDS)
        start = max(start, held._PINNED_ENDS)
        allow(held_.address + start + -start % PAGE, held_.address + end - end % PAGE, 0)

held.WHOLE, held._begun = 0, begun
held.pin = files.pin = pin
held.unpin = files.unpin = unpin
held._PINNED_ENDS = 4096

from sacdoctor.cli.main import main
for line in sys.stdin:
    sys.argv = ["sacdoctor", *json.loads(line)]
    try:
        main()
    except SystemExit as end:
        print("exit", end.code, flush=True)
"""
"""The command with every file taken for a large one; to look at bytes of one that were not read
ends the process, as it would by a bus error or with zeros."""


def guarded(*lines: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", GUARDED],
        input="".join(json.dumps([*map(str, line)]) + "\n" for line in lines),
        env=child_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by mprotect")
def test_no_verb_looks_at_bytes_of_a_large_file_that_were_not_read(tmp_path: Path) -> None:
    lines: list[list[str]] = []
    for at, path in enumerate(sorted(CHECKPOINTS.glob("*.zip"))):
        model = str(path)
        lines += [
            ["scan", "--all", "--format", "json", model],
            ["scan", "--select", "SD6", model],
            ["fix", model, "--learning-rate", "1e-4", "--output", str(tmp_path / f"{at}.zip")],
            ["diff", model, str(tmp_path / f"{at}.zip"), "--format", "json"],
            ["warmup", model],
            ["fix-config", model],
        ]
    lines.append(["history", str(tmp_path), "--format", "json"])
    done = guarded(*lines)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("exit ") == len(lines)
    assert "changed while" not in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_changed_at_a_random_moment_ends_in_one_line_or_a_sound_result(
    verb: str, tmp_path: Path
) -> None:
    """Each kind of change once; hundreds of them: `benchmarks/changing_files.py`."""
    chance = Random(verb)
    place = Place.with_files(tmp_path, 40)
    sound, seconds = sound_results(verb, place)
    for how in CHANGES:
        place.begin(place.was)

        def meanwhile(how: str = how) -> None:
            time.sleep(chance.uniform(0.3, 1.0) * seconds)
            change(place.model, place.other, how, chance)
            if verb == "watch":
                place.go_on()

        ended = outcome(verb, *run(commands(place)[verb], meanwhile), sound, place.output)
        assert ended.startswith(("a sound result", "one line")), (how, ended)
    assert not [*tmp_path.rglob(".sacdoctor-*")]


def test_of_a_folder_only_the_file_that_changed_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sacdoctor.cli.main import main
    from sacdoctor.files import held

    for name in "abc":
        save(tmp_path / f"{name}.zip", 0.1, ord(name))
    refuse = held.refuse_changed

    def changing(view: memoryview) -> None:
        path = getattr(view.obj, "path", None)
        if path is not None and path.name == "b.zip":
            path.touch()
        refuse(view)

    monkeypatch.setattr(held, "WHOLE", 0)
    monkeypatch.setattr("sacdoctor.checkpoint.checkpoint.refuse_changed", changing)
    for verb in (["scan", "--format", "json"], ["history", "--format", "json"]):
        monkeypatch.setattr(sys, "argv", ["sacdoctor", *verb, str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, _ = capsys.readouterr()
        assert ended.value.code == 2
        assert out.count('"error": "it changed while it was read; try again"') == 1
        assert "a.zip" in out
        assert "c.zip" in out
