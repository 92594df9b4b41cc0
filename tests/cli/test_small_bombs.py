"""Inputs of less than a megabyte that were made to take for ever, or gigabytes: every verb ends
within two seconds and 256 MiB, with a result or one line."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch as th

from tests.archives import (
    DEFLATED,
    Entry,
    raw_zip,
    saved,
    sb3_members,
    tensor_pickle,
    torch_zip,
    zip_of,
)
from tests.cli.test_bombs import MIB, SECONDS, SHARED, end

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
    pytest.mark.slow,
]

MEGA = 1_000_000
POLICY = {"fc.weight": th.ones(4, 4), "fc.bias": th.zeros(4)}
DICT, END = b"\x80\x02ccollections\nOrderedDict\n)R(", b"u."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def model(**members: bytes) -> bytes:
    return zip_of(sb3_members(POLICY) | {n.replace("__", "."): m for n, m in members.items()})


def setting(pickle: bytes) -> dict[str, str]:
    return {":type:": "x", ":serialized:": base64.b64encode(pickle).decode()}


def settings(values: object) -> bytes:
    return model(data=json.dumps(values).encode())


def deflated(policy: bytes, storage: bytes) -> bytes:
    inner = [
        Entry("archive/data.pkl", policy, method=DEFLATED),
        Entry("archive/data/0", storage, method=DEFLATED),
    ]
    members = sb3_members(POLICY) | {"policy.pth": raw_zip(inner)}
    return raw_zip([Entry(name, data, method=DEFLATED) for name, data in members.items()])


def named(names: list[str]) -> bytes:
    """The pickle of a state dict in which all these names are of one tensor."""
    one = tensor_pickle(name=names[0])[len(DICT) : -len(END)]
    key = text(names[0])
    again = b"".join(text(name) + b"h\x63" for name in names[1:])
    return DICT + key + one.removeprefix(key) + b"q\x63" + again + END


def opened_again_and_again() -> bytes:
    """Pickles in pickles, seven deep, each opened thirty times by the one around it."""
    inner = b"\x80\x04N."
    for _ in range(7):
        size = struct.pack("<I", len(inner))
        inner = (
            b"\x80\x04cpickle\nloads\nq\0B" + size + inner + b"q\1" + b"h\0h\1\x85R0" * 30 + b"N."
        )
    return inner


def entries(count: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:x}", b"")
    return file.getvalue()


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


CHECKPOINTS: Mapping[str, Callable[[], bytes]] = {
    "pickles-opened-again": lambda: settings({"policy_class": setting(opened_again_and_again())}),
    "a-long-key-over-many-lists": lambda: settings({"a": {"k" * 13_000: [[[0]]] * 3000}}),
    "pickles-below-a-long-key": lambda: settings(
        {"a": {"k" * 13_000: {**setting(b"N."), "b": [[setting(b"N.")]] * 600}}}
    ),
    "pickles-by-the-thousand": lambda: settings({f"k{n}": setting(b"N.") for n in range(18_000)}),
    "a-number-of-900-kilobytes": lambda: model(data=b'{"learning_rate": ' + b"9" * 900_000 + b"}"),
    "lists-in-lists": lambda: model(data=b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "names-of-24-parts": lambda: model(
        policy__pth=torch_zip(
            named([".".join(["actor", "qf", "target"] * 8) + f".{n}.bias" for n in range(4000)]),
            {"0": bytes(16)},
        )
    ),
    "names-of-24-parts-in-optimizers": lambda: model(
        policy__pth=torch_zip(named([".".join(["a"] * 24) + f".{n}.bias" for n in range(300)])),
        x__optimizer__pth=saved({"state": {}, "param_groups": [{"params": [*range(301)]}]}),
    ),
    "a-hundred-thousand-names": lambda: deflated(
        named([f"l{n}.bias" for n in range(100_000)]), bytes(16)
    ),
    "ten-thousand-names": lambda: deflated(named([f"l{n}.bias" for n in range(10_000)]), bytes(16)),
    "names-of-9-kilobytes": lambda: deflated(
        named(["n" * 9000 + f"{n}.bias" for n in range(1500)]), bytes(16)
    ),
    "a-bias-of-60-megabytes": lambda: deflated(
        tensor_pickle(name="fc.bias", numel=15 * MEGA, shape=(15 * MEGA,)), bytes(60 * MEGA)
    ),
    "a-bias-of-15-megabytes": lambda: deflated(
        tensor_pickle(name="fc.bias", numel=15 * MEGA // 4, shape=(15 * MEGA // 4,)),
        bytes(15 * MEGA),
    ),
    "ten-thousand-entries": lambda: entries(9000),
    "optimizers-by-the-thousand": lambda: model(
        **{f"x{n}__optimizer__pth": b"" for n in range(4000)}
    ),
    "pickles-beside-by-the-thousand": lambda: model(**{f"x{n}__pkl": b"N." for n in range(6000)}),
    "control-characters": lambda: model(
        policy__pth=torch_zip(named([f"\x1b[2J\u202e{n}.bias" for n in range(50)])),
        data=json.dumps({"\x1b[2J\u202e": "\x1b]0;x\x07"}).encode(),
    ),
}
STATE_DICTS: Mapping[str, Callable[[], bytes]] = {
    "lists-in-a-header": lambda: safetensors(b'{"a":' + b"[" * 900_000),
    "thirteen-thousand-tensors": lambda: safetensors(
        json.dumps(
            {
                f"l{n}.bias": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                for n in range(13_000)
            }
        ).encode()
    ),
    "shapes-without-end": lambda: safetensors(
        b'{"a":{"dtype":"F32","shape":[' + b",".join([b"9" * 4000] * 20) + b"]}}"
    ),
}
SETTINGS: Mapping[str, Callable[[], bytes]] = {
    "underscores.yaml": lambda: b"learning_rate: 1" + b"_" * 400_000,
    "underscores.toml": lambda: b"learning_rate = 1" + b"_" * 400_000,
    "underscores.json": lambda: b'{"learning_rate": "1' + b"_" * 400_000 + b'"}',
    "sixties.yaml": lambda: b"learning_rate: 1" + b":1" * 200_000,
    "digits.yaml": lambda: b"learning_rate: " + b"9" * 900_000,
    "digits.toml": lambda: b"learning_rate = " + b"9" * 900_000,
    "deep.yaml": lambda: b"a: " + b"[" * 100_000,
    "deep.toml": lambda: b"a = " + b"[" * 50_000 + b"]" * 50_000,
    "deep.json": lambda: b"[" * 200_000,
    "aliases.yaml": lambda: (
        b"a0: &a0 [x]\n"
        + b"".join(b"a%d: &a%d [*a%d,*a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40))
    ),
    "dots.toml": lambda: b"a" + b".a" * 20_000 + b" = 1\n",
}
MONITOR = b'#{"t_start": 1, "env_id": "x"}\nr,l,t\n'
PROGRESS = b"time/total_timesteps,rollout/ep_rew_mean\n"
LOGS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "lengths-beyond-64-bits": ("monitor.csv", lambda: MONITOR + b"1.0,%d,1\n" % 10**30 * 300),
    "lengths-that-add-up-beyond": ("monitor.csv", lambda: MONITOR + b"1.0,%d,1\n" % 2**62 * 300),
    "a-length-of-500-kilobytes": ("monitor.csv", lambda: MONITOR + b"1," + b"9" * 500_000 + b",1"),
    "a-header-of-lists": ("monitor.csv", lambda: b'#{"t_start":' + b"[" * 100_000 + b"\nr,l,t\n"),
    "timesteps-beyond-64-bits": ("progress.csv", lambda: PROGRESS + b"%d,1.0\n" % 10**25 * 300),
    "timesteps-that-are-none": ("progress.csv", lambda: PROGRESS + b"1e400,1\n-1e300,2\nnan,4\n"),
    "columns-by-the-thousand": (
        "progress.csv",
        lambda: b",".join(b"a%d" % n for n in range(80_000)) + b"\n",
    ),
    "event-files-of-nothing": ("events.out.tfevents.1", lambda: bytes(500_000)),
}


def is_soon_over(folder: Path, data: bytes, *commands: list[object]) -> None:
    assert len(data) < MEGA
    for command in commands:
        code, complaint, seconds, mib = end(*command)
        said = f"{command}: {seconds:.1f} s, {mib:.0f} MiB, {code}, {complaint[-300:]}"
        assert code in (0, 1, 2), said
        assert "Traceback" not in complaint, said
        assert complaint.count("\n") == 0, said
        assert len(complaint) < 1500, said
        assert seconds < SECONDS * SHARED, said
        assert mib < MIB, said
    assert not [*folder.rglob(".sacdoctor-*")]


@pytest.mark.parametrize("case", [*CHECKPOINTS, *STATE_DICTS])
def test_a_checkpoint_is_soon_over_in_every_verb(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / ("model.zip" if case in CHECKPOINTS else "model.safetensors")
    data = ({**CHECKPOINTS, **STATE_DICTS})[case]()
    path.write_bytes(data)
    sound = tmp_path / "sound.zip"
    sound.write_bytes(zip_of(sb3_members(POLICY)))
    commands: list[list[object]] = [
        ["scan", path],
        ["scan", path, "--all"],
        ["scan", path, "--all", "--format", "json"],
        ["scan", path, "--select", "SD6"],
        ["fix", path, "--output", tmp_path / f"fixed{path.suffix}"],
        ["diff", sound, path],
        ["diff", path, path, "--format", "json"],
        ["fix-config", path, "--algorithm", "SAC"],
        ["history", folder],
    ]
    is_soon_over(tmp_path, data, *commands)


@pytest.mark.parametrize("case", SETTINGS)
def test_a_settings_file_is_soon_over(case: str, tmp_path: Path) -> None:
    path = tmp_path / case
    path.write_bytes(SETTINGS[case]())
    commands: list[list[object]] = [
        ["fix-config", path],
        ["fix-config", path, "--format", "json"],
        ["warmup", path],
    ]
    is_soon_over(tmp_path, path.read_bytes(), *commands)


@pytest.mark.parametrize("case", LOGS)
def test_a_log_is_soon_over(case: str, tmp_path: Path) -> None:
    name, data = LOGS[case]
    (tmp_path / name).write_bytes(data())
    commands: list[list[object]] = [
        ["history", tmp_path],
        ["history", tmp_path, "--format", "json"],
    ]
    is_soon_over(tmp_path, data(), *commands)


def test_a_pickle_that_opens_one_again_and_again_is_soon_over(tmp_path: Path) -> None:
    path = tmp_path / "model_replay_buffer.pkl"
    path.write_bytes(opened_again_and_again())
    commands: list[list[object]] = [["scan", path], ["scan", "--select", "SD6", path]]
    is_soon_over(tmp_path, path.read_bytes(), *commands)
    assert end("scan", "--select", "SD6", path)[0] == 1


@pytest.mark.parametrize("interval", ["nan", "inf", "-1", "1e300"])
def test_an_interval_that_is_no_number_of_seconds_is_refused(interval: str, tmp_path: Path) -> None:
    code, complaint, _, _ = end("watch", tmp_path, "--interval", interval)
    assert code == 2
    assert "--interval" in complaint
