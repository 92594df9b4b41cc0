"""Pickles that are made to take for ever end soon, in every verb: one budget holds for a file."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch as th

from tests.archives import saved, sb3_members, torch_zip, zip_of
from tests.bombs.programs import FURTHER, OPCODES
from tests.conftest import child_environment

MEGA = 1_000_000
SECONDS, MIB = 2.0, 256
SHARED = 2.0
"""Times the limit that a process may take here: other tests share the two cores."""

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
    pytest.mark.slow,
]

ENDED = """
import resource, sys
from sacdoctor.cli.main import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    sys.stderr.write(f"{used.ru_utime + used.ru_stime} {int(peak.split()[1]) / 1024}\\n")
"""
"""The command, and at its end its processor seconds and the MiB that it held at most: what the
system tells of a child counts the process that started it, too."""


def end(*arguments: object) -> tuple[int, str, float, float]:
    """The exit code of a command, its complaint, its seconds and MiB."""
    done = subprocess.run(
        [sys.executable, "-c", ENDED, *map(str, arguments)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    *complaint, used = done.stderr.splitlines()
    seconds, mib = map(float, used.split())
    return done.returncode, "\n".join(complaint), seconds, mib


def check(code: int, complaint: str, seconds: float, mib: float) -> None:
    assert code in (0, 1, 2)
    assert (code == 2) == bool(complaint)
    assert "\n" not in complaint
    assert seconds < SECONDS * SHARED
    assert mib < MIB


IN_EVERY_VERB = "items-set"
"""The dearest of them; of the others a scan is enough, as all verbs read by the same machine, and
one file: none is allowed more than a buffer of 30 MB."""

NAMES: dict[str, Callable[[int], bytes]] = {
    "names": lambda size: b"".join(b"ca\n%07d\n" % n for n in range(size // 11)),
    "attributes": lambda size: (
        b"cbuiltins\ngetattr\nq\0cnumpy\ndtype\nq\1"
        + b"".join(b"h\0h\1\x8c\x07a%06d\x86R" % n for n in range(size // 15))
    ),
    "pickles-in-a-pickle": lambda size: (
        b"cpickle\nloads\nq\0B"
        + (size // 2).to_bytes(4, "little")
        + b"." * (size // 2)
        + b"q\1"
        + b"h\0h\1\x85R" * (size // 12)
    ),
}
"""Those of what a strict reader refuses at once, and the gate looks into."""


@pytest.mark.parametrize("kind", [*OPCODES, *FURTHER])
def test_a_pickle_of_30_megabytes_ends_soon(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model_replay_buffer.pkl"
    path.write_bytes(b"\x80\x04" + (OPCODES | FURTHER)[kind](30 * MEGA) + b".")
    every = (["scan", path], ["warmup", path], ["scan", "--select", "SD6", path])
    for command in every if kind == IN_EVERY_VERB else every[:1]:
        code, complaint, seconds, mib = end(*command)
        check(code, complaint, seconds, mib)
        assert code == 2
        assert "than any checkpoint's do" in complaint


@pytest.mark.parametrize(
    "verb", ["scan", "gate", "fix", "diff", "history", "warmup", "fix-config", "scan tensors"]
)
def test_five_million_opcodes_out_of_a_small_file_end_soon(verb: str, tmp_path: Path) -> None:
    """As a pickle in the settings, deflated; and in a tensor file, deflated too, in a scan: what
    the other verbs do with a tensor file is below."""
    bomb = b"\x80\x04" + OPCODES[IN_EVERY_VERB](5 * MEGA) + b"."
    setting = {":type:": "x", ":serialized:": base64.b64encode(bomb).decode()}
    members = {
        "data": json.dumps({"policy_class": setting, "gae_lambda": 1.0, "n_steps": 5}),
        "policy.pth": torch_zip(b"\x80\x04}."),
    }
    if verb == "scan tensors":
        members = {"data": "{}", "policy.pth": torch_zip(bomb)}
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    assert path.stat().st_size < MEGA // 10
    commands: dict[str, list[object]] = {
        "gate": ["scan", "--select", "SD6", path],
        "diff": ["diff", path, path],
        "history": ["history", tmp_path],
        "fix-config": ["fix-config", "--algorithm", "A2C", path],
    }
    check(*end(*commands.get(verb, [verb.split()[0], path])))


VERBS = {
    "scan": ("scan", "{model}"),
    "gate": ("scan", "--select", "SD6", "{model}"),
    "fix": ("fix", "{model}", "--learning-rate", "1e-4"),
    "diff": ("diff", "{sound}", "{model}"),
    "history": ("history", "{folder}"),
    "watch": ("watch", "{folder}"),
    "warmup": ("warmup", "{model}"),
    "fix-config": ("fix-config", "--algorithm", "A2C", "{model}"),
}
LOOKS_AT = {
    "policy.pth": {"scan", "gate", "fix", "diff", "history", "watch"},
    "policy.optimizer.pth": {"scan", "gate", "fix", "diff", "history", "watch", "fix-config"},
}
"""Which verbs read the member. The gate names it (SD601); `watch` goes on to the next file."""
READ_BY_ITSELF = ("scan", "gate", "fix", "fix-config")
"""Verbs with code of their own that reads the optimizers; the others read what a scan does."""


@pytest.mark.parametrize(
    ("member", "verb"),
    [
        *(("policy.pth", verb) for verb in VERBS),
        *(("policy.optimizer.pth", verb) for verb in READ_BY_ITSELF),
    ],
)
def test_a_member_of_30_megabytes_ends_soon_in_every_verb(
    member: str, verb: str, tmp_path: Path
) -> None:
    sound = sb3_members({"fc.weight": th.ones(4, 4), "fc.bias": th.ones(4)}, {"learning_rate": 0.5})
    sound["policy.optimizer.pth"] = saved({"state": {}, "param_groups": [{"params": [0, 1]}]})
    folder = tmp_path / "run"
    folder.mkdir()
    places = {"model": folder / "model.zip", "sound": tmp_path / "sound.zip", "folder": folder}
    places["sound"].write_bytes(zip_of(sound))
    bomb = torch_zip(b"\x80\x04" + OPCODES["lists"](30 * MEGA) + b".")
    places["model"].write_bytes(zip_of(sound | {member: bomb}))
    # `watch` takes the older first, and ends at one whose bias is dead.
    os.utime(places["model"], (1, 1))
    if verb == "watch":
        dead = sb3_members({"fc.weight": th.ones(4, 4), "fc.bias": th.zeros(4)})
        (folder / "next.zip").write_bytes(zip_of(dead))
        os.utime(folder / "next.zip", (2, 2))
    command = [part.format(**places) for part in VERBS[verb]]
    code, complaint, seconds, mib = end(*command)
    check(code, complaint, seconds, mib)
    if verb in LOOKS_AT[member]:
        assert code == (1 if verb in ("gate", "watch") else 2)
    if code == 2:
        assert "than any checkpoint's do" in complaint


@pytest.mark.parametrize("kind", NAMES)
def test_names_without_end_are_soon_reported_by_the_gate(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model_replay_buffer.pkl"
    path.write_bytes(b"\x80\x04" + NAMES[kind](30 * MEGA) + b".")
    every = (["scan", "--select", "SD6", path], ["warmup", path])
    for command in every if kind == "names" else every[:1]:
        code, complaint, seconds, mib = end(*command)
        check(code, complaint, seconds, mib)
        assert code in (1, 2)
