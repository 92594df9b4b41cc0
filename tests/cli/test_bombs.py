"""Pickles that are made to take for ever end soon, in every verb: one budget holds for a file."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.archives import torch_zip
from tests.conftest import child_environment

MEGA = 1_000_000
SECONDS, MIB = 2.0, 256
SHARED = 2.0
"""Times the limit that a process may take here: other tests share the two cores."""

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
    pytest.mark.slow,
]

OPCODES: dict[str, Callable[[int], bytes]] = {
    "lists": lambda size: b"]" * size,
    "marks": lambda size: b"(" * size,
    "dicts": lambda size: b"}" * size,
    "copies": lambda size: b"]" + b"2" * size,
    "kept": lambda size: b"]" + b"\x94" * size,
    "lists-kept": lambda size: b"]\x94" * (size // 2),
    "recalled": lambda size: b"]q\0" + b"h\0" * (size // 2),
    "tuples-in-tuples": lambda size: b"]" + b"\x85" * size,
    "items-set": lambda size: b"}" + b"K\1K\1s" * (size // 5),
    "texts": lambda size: b"\x8c\1a" * (size // 3),
}
"""What a bomb is made of, by its size in bytes."""

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


@pytest.mark.parametrize("kind", OPCODES)
def test_a_pickle_of_30_megabytes_ends_soon(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model_replay_buffer.pkl"
    path.write_bytes(b"\x80\x04" + OPCODES[kind](30 * MEGA) + b".")
    for command in (["warmup", path], ["scan", path], ["scan", "--select", "SD6", path]):
        code, complaint, seconds, mib = end(*command)
        check(code, complaint, seconds, mib)
        assert code == 2
        assert "than any checkpoint's do" in complaint


@pytest.mark.parametrize("kind", OPCODES)
def test_five_million_opcodes_out_of_a_small_file_end_soon(kind: str, tmp_path: Path) -> None:
    """In a tensor file, deflated; as a pickle in the settings, deflated too."""
    bomb = b"\x80\x04" + OPCODES[kind](5 * MEGA) + b"."
    setting = {":type:": "x", ":serialized:": base64.b64encode(bomb).decode()}
    files = {
        "tensors": {"data": "{}", "policy.pth": torch_zip(bomb)},
        "settings": {
            "data": json.dumps({"policy_class": setting, "gae_lambda": 1.0, "n_steps": 5}),
            "policy.pth": torch_zip(b"\x80\x04}."),
        },
    }
    for name, members in files.items():
        folder = tmp_path / name
        folder.mkdir()
        path = folder / "model.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        assert path.stat().st_size < MEGA // 10
        for command in (
            ["scan", path],
            ["scan", "--select", "SD6", path],
            ["fix", path],
            ["diff", path, path],
            ["history", folder],
            ["warmup", path],
            ["fix-config", "--algorithm", "A2C", path],
        ):
            check(*end(*command))
