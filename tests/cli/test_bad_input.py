"""What cannot be read: exit code 2 and one line on stderr that names the path and the reason."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch as th

from sacdoctor.cli.main import VERBS
from tests.archives import (
    DEFLATED,
    Entry,
    members_of,
    raw_zip,
    saved,
    sb3_members,
    tensor_pickle,
    torch_zip,
    zip_of,
)
from tests.conftest import Run, child_environment
from tests.scan_document import parse

POLICY = {"actor.mu.weight": th.ones(4, 4), "actor.mu.bias": th.ones(4)}
MIB = 1024**2


def sound(**replaced: bytes) -> bytes:
    """A checkpoint with some of its members replaced; `policy` stands for `policy.pth`."""
    members = sb3_members(POLICY)
    members |= {("policy.pth" if k == "policy" else k): v for k, v in replaced.items()}
    return zip_of(members)


def with_pickle(pickle: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    return sound(policy=torch_zip(pickle, storages))


def entries(**changed: Entry) -> bytes:
    members = {name: Entry(name, data) for name, data in sb3_members(POLICY).items()}
    return raw_zip([*(members | changed).values()])


def with_good_pickle() -> bytes:
    return with_pickle(tensor_pickle(), {"0": th.ones(4).numpy().tobytes()})


def without(name: str) -> bytes:
    return zip_of({k: v for k, v in sb3_members(POLICY).items() if k != name})


def wrong_inner_crc() -> bytes:
    inner = members_of(saved(POLICY))
    (record,) = [name for name in inner if name.endswith("data/0")]
    broken = [Entry(name, data, crc=1 if name == record else None) for name, data in inner.items()]
    return sound(policy=raw_zip(broken))


def overlapping() -> bytes:
    """Two members, the second one within the bytes of the first: how a zip bomb stays small."""
    inner = raw_zip([Entry("policy.pth", saved(POLICY))])
    inner = inner[: inner.index(b"PK\1\2")]
    header = 30 + len("data")
    return raw_zip(
        [
            Entry("data", inner),
            Entry("policy.pth", saved(POLICY), offset=header),
        ]
    )


def bomb() -> bytes:
    return sound_with(Entry("data", b"{}" + b" " * (300 * MIB), method=DEFLATED))


def sound_with(*extra: Entry) -> bytes:
    names = {entry.name for entry in extra}
    rest = [Entry(n, d) for n, d in sb3_members(POLICY).items() if n not in names]
    return raw_zip([*rest, *extra])


def nested_bomb() -> bytes:
    """Tensors of 300 MiB behind a deflated policy of a few hundred KiB."""
    numel = 75 * MIB
    pickle = tensor_pickle(numel=numel, shape=(numel,))
    inner = [
        Entry("archive/data.pkl", pickle),
        Entry("archive/data/0", bytes(4 * numel), method=DEFLATED),
    ]
    return sound_with(Entry("policy.pth", raw_zip(inner), method=DEFLATED))


def call_of(module: str, name: str) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X\x02\0\0\0ls\x85R."


def cycle() -> bytes:
    """A list that holds itself, in the place of a state dict."""
    return b"\x80\x02]q\0h\0a."


def cyclic_shape() -> bytes:
    """A tensor whose shape is a tuple that holds a list that holds the tuple."""
    pickle = tensor_pickle()
    return pickle.replace(b"(L4L\nt(L1L\nt", b"]q\0h\0a\x85(L1L\nt")


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "one-byte": (lambda: b"P", "neither a zip nor"),
    "text": (lambda: b"hello, this is not a checkpoint at all", "neither a zip nor"),
    "zeros": (lambda: bytes(4096), "neither a zip nor"),
    "a-pickle": (lambda: b"\x80\x04N.", "neither a zip nor"),
    "only-the-letters-PK": (lambda: b"PK", "too short"),
    "PK-and-zeros": (lambda: b"PK" + bytes(4096), "cut off"),
    "empty-zip": (lambda: zip_of({}), "policy.pth"),
    "another-zip": (lambda: zip_of({"readme.txt": b"hello"}), "neither.*policy.pth.*data.pkl"),
    "no-policy": (lambda: without("policy.pth"), "policy.pth"),
    "cut-in-half": (lambda: sound()[: len(sound()) // 2], "cut off"),
    "data-is-no-json": (lambda: sound(data=b"{'a': 1}"), "data.*JSON"),
    "data-is-no-text": (lambda: sound(data=b"\xff\xfe\xfd"), "data.*JSON"),
    "data-is-a-list": (lambda: sound(data=b"[1, 2]"), "data.*JSON object"),
    "data-nests-too-deep": (lambda: sound(data=b"[" * 200_000), "data.*(nests|JSON)"),
    "data-nests-dicts-too-deep": (
        lambda: sound(data=b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "data.*nests",
    ),
    "data-holds-a-number-without-end": (
        lambda: sound(data=b'{"a":' + b"1" * 100_000 + b"}"),
        "data.*JSON",
    ),
    "policy-is-no-zip": (lambda: sound(policy=b"weights"), "policy.pth"),
    "policy-is-empty": (lambda: sound(policy=b""), "policy.pth"),
    "policy-is-another-zip": (lambda: sound(policy=zip_of({"a": b""})), "policy.pth.*data.pkl"),
    "policy-is-a-list": (lambda: sound(policy=saved([1, 2])), "policy.pth.*state dict"),
    "policy-is-a-tensor": (lambda: sound(policy=saved(th.ones(2))), "policy.pth.*state dict"),
    "optimizer-is-a-list": (
        lambda: zip_of(sb3_members(POLICY, optimizers={"policy.optimizer": [1]})),
        "policy.optimizer.pth.*optimizer",
    ),
    "optimizer-groups-are-numbers": (
        lambda: zip_of(sb3_members(POLICY, optimizers={"actor.optimizer": {"param_groups": [1]}})),
        "actor.optimizer.pth.*param",
    ),
    "storage-missing": (lambda: with_pickle(tensor_pickle()), "data/0.*missing"),
    "storage-shorter-than-claimed": (
        lambda: with_pickle(tensor_pickle(numel=4), {"0": bytes(15)}),
        "15 bytes.*4",
    ),
    "shape-larger-than-storage": (
        lambda: with_pickle(tensor_pickle(shape=(5,)), {"0": bytes(16)}),
        "fit",
    ),
    "offset-past-the-end": (
        lambda: with_pickle(tensor_pickle(offset=1), {"0": bytes(16)}),
        "fit",
    ),
    "offset-negative": (lambda: with_pickle(tensor_pickle(offset=-1), {"0": bytes(16)}), "offset"),
    "shape-negative": (
        lambda: with_pickle(tensor_pickle(shape=(-4,)), {"0": bytes(16)}),
        "shape",
    ),
    "two-negatives": (
        lambda: with_pickle(tensor_pickle(shape=(-2, -2), stride=(1, 1)), {"0": bytes(16)}),
        "shape",
    ),
    "stride-negative": (
        lambda: with_pickle(tensor_pickle(offset=3, stride=(-1,)), {"0": bytes(16)}),
        "stride",
    ),
    "stride-huge": (
        lambda: with_pickle(tensor_pickle(shape=(2,), stride=(2**61,)), {"0": bytes(16)}),
        "fit",
    ),
    "shape-huge": (
        lambda: with_pickle(tensor_pickle(shape=(2**62, 4), stride=(0, 1)), {"0": bytes(16)}),
        ".",
    ),
    "shape-huge-beyond-64-bits": (
        lambda: with_pickle(tensor_pickle(shape=(2**70,), stride=(0,)), {"0": bytes(16)}),
        ".",
    ),
    "shape-huge-beside-an-empty-dimension": (
        lambda: with_pickle(tensor_pickle(shape=(0, 2**70), stride=(1, 1)), {"0": bytes(16)}),
        ".",
    ),
    "more-elements-than-the-storage-has": (
        lambda: with_pickle(tensor_pickle(numel=5, shape=(3, 3), stride=(1, 1)), {"0": bytes(20)}),
        "more elements",
    ),
    "shape-and-stride-differ": (
        lambda: with_pickle(tensor_pickle(shape=(2, 2), stride=(1,)), {"0": bytes(16)}),
        "shape",
    ),
    "too-many-dimensions": (
        lambda: with_pickle(tensor_pickle(shape=(1,) * 65, stride=(1,) * 65), {"0": bytes(16)}),
        "shape",
    ),
    "numel-negative": (lambda: with_pickle(tensor_pickle(numel=-1), {"0": bytes(16)}), "."),
    "numel-huge": (lambda: with_pickle(tensor_pickle(numel=2**62), {"0": bytes(16)}), "too few"),
    "unlisted-storage": (
        lambda: with_pickle(tensor_pickle(storage_class="QInt8Storage"), {"0": bytes(16)}),
        r"torch\.QInt8Storage",
    ),
    "unlisted-name": (lambda: with_pickle(call_of("os", "system")), r"os\.system"),
    "unlisted-builtin": (lambda: with_pickle(call_of("builtins", "eval")), r"builtins\.eval"),
    "unlisted-name-of-torch": (lambda: with_pickle(call_of("torch", "load")), r"torch\.load"),
    "unlisted-name-by-stack": (
        lambda: with_pickle(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R."),
        r"posix\.system",
    ),
    "unlisted-name-by-inst": (lambda: with_pickle(b"(X\x02\0\0\0lsios\nsystem\n."), r"os\.system"),
    "calls-a-constant": (lambda: with_pickle(b"\x80\x02ctorch\nfloat32\n)R."), "called"),
    "calls-a-list": (lambda: with_pickle(b"\x80\x02]q\0)R."), "called"),
    "pickle-cut-off": (lambda: with_pickle(tensor_pickle()[:-9], {"0": bytes(16)}), "pickle"),
    "pickle-empty": (lambda: with_pickle(b""), "pickle"),
    "pickle-of-a-cycle": (lambda: with_pickle(cycle()), "state dict"),
    "pickle-with-a-cyclic-shape": (lambda: with_pickle(cyclic_shape(), {"0": bytes(16)}), "."),
    "pickle-of-a-newer-protocol": (lambda: with_pickle(b"\x80\x06N."), "protocol"),
    "pickle-with-an-extension-code": (lambda: with_pickle(b"\x80\x02\x82\x01."), "extension"),
    "big-endian": (
        lambda: sound(
            policy=zip_of({"archive/data.pkl": tensor_pickle(), "archive/byteorder": b"big"})
        ),
        "little-endian",
    ),
    "overlapping-members": (overlapping, "overlap"),
    "overlapping-names-differ": (
        lambda: raw_zip([Entry("a", b"x" * 50), Entry("b", b"y", local_name="a", offset=0)]),
        "b",
    ),
    "duplicate-names": (
        lambda: raw_zip([Entry("policy.pth", b"a"), Entry("policy.pth", b"b")]),
        "two members.*policy.pth",
    ),
    "duplicate-names-inside": (
        lambda: sound(policy=raw_zip([Entry("a/data.pkl", b"N."), Entry("a/data.pkl", b"N.")])),
        "policy.pth.*two members",
    ),
    "zip-bomb": (bomb, "data.*expand"),
    "zip-bomb-inside": (nested_bomb, "expand"),
    "claims-less-than-it-expands-to": (
        lambda: sound_with(Entry("data", b"{}" + bytes(MIB), method=DEFLATED, size=2)),
        "data.*2 bytes",
    ),
    "claims-more-than-it-expands-to": (
        lambda: sound_with(Entry("data", b"{}", method=DEFLATED, size=3)),
        "data.*3 bytes",
    ),
    "deflated-badly": (
        lambda: sound_with(Entry("data", b"{}", method=DEFLATED, compressed_size=1)),
        "data",
    ),
    "wrong-crc": (lambda: sound_with(Entry("data", b"{}", crc=1)), "data.*CRC"),
    "wrong-inner-crc-right-outer-crc": (wrong_inner_crc, "policy.pth.*data/0.*CRC"),
    "encrypted": (lambda: sound_with(Entry("data", b"{}", flags=1)), "data.*encrypted"),
    "unknown-compression": (lambda: sound_with(Entry("data", b"{}", method=99)), "data.*99"),
    "bzip2": (lambda: zip_of(sb3_members(POLICY), method=12), "method 12"),
    "several-disks": (lambda: sound_with(Entry("data", b"{}", disk=1)), "disks"),
    "member-past-the-end": (lambda: sound_with(Entry("data", b"{}", offset=2**31)), "data"),
    "member-longer-than-the-file": (
        lambda: sound_with(Entry("data", b"{}", size=2**31, compressed_size=2**31)),
        "data",
    ),
    "stored-with-two-sizes": (lambda: sound_with(Entry("data", b"{}", size=1)), "data.*sizes"),
    "zip64-sizes-missing": (
        lambda: sound_with(Entry("data", b"{}", size=2**32 - 1, compressed_size=2**32 - 1)),
        "data.*zip64",
    ),
    "name-differs-in-its-local-header": (
        lambda: sound_with(Entry("data", b"{}", local_name="atad")),
        "data",
    ),
    "count-too-high": (lambda: raw_zip([Entry("data", b"{}")], count=2), "directory"),
    "count-too-low": (
        lambda: raw_zip([Entry(n, d) for n, d in sb3_members(POLICY).items()], count=2),
        "directory",
    ),
    "something-in-front": (lambda: b"PK\3\4 self-extracting" + sound(), "directory|before"),
    "text-in-front": (lambda: b"#!/bin/sh\n" + sound(), "stands before the zip"),
    "settings-twice": (lambda: sound(data=b'{"a": 1, "a": 2}'), "data.*'a' twice"),
    "something-behind": (lambda: sound() + bytes(70_000), "cut off"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_file_is_one_line_and_exit_2(run: Run, tmp_path: Path, case: str) -> None:
    make, reason = FILES[case]
    path = tmp_path / "model.zip"
    path.write_bytes(make())
    outcome = run("scan", path)
    assert (outcome.code, outcome.out) == (2, "")
    start = f"sacdoctor: {path}: "
    assert outcome.complaint.startswith(start)
    assert re.search(reason, outcome.complaint.removeprefix(start)), outcome.complaint
    assert len(outcome.complaint) < 500


def test_the_file_that_the_bad_ones_are_made_from_is_sound(run: Run, tmp_path: Path) -> None:
    for number, data in enumerate((sound(), entries(), sound_with(), with_good_pickle())):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        assert (run("scan", path).code, run("scan", path).err) == (0, "")


@pytest.mark.parametrize("case", ["empty", "unlisted-name", "cut-in-half", "wrong-crc"])
@pytest.mark.parametrize("format", ["table", "json"])
def test_bad_file_in_a_process_of_its_own(
    shell: Run, tmp_path: Path, case: str, format: str
) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(FILES[case][0]())
    outcome = shell("scan", path, "--format", format)
    assert outcome.code == 2
    assert outcome.complaint.startswith(f"sacdoctor: {path}: ")
    if format == "json":
        (checkpoint,) = parse(outcome.out)["checkpoints"]
        assert checkpoint["status"] == "error"
        assert outcome.complaint == f"sacdoctor: {path}: {checkpoint['error']}"


# -- places without a file ---------------------------------------------------------------------


def test_missing_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "missing.zip"
    outcome = run("scan", path)
    assert outcome.code == 2
    assert outcome.complaint == f"sacdoctor: {path}: No such file or directory"


def test_file_below_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    outcome = run("scan", tmp_path / "a" / "model.zip")
    assert outcome.code == 2
    assert "Not a directory" in outcome.complaint


def test_folder_without_checkpoints(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    outcome = run("scan", tmp_path)
    assert outcome.code == 2
    assert outcome.complaint == f"sacdoctor: {tmp_path}: the folder holds no .zip file"


def test_folder_that_is_named_like_a_checkpoint(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.zip").mkdir()
    outcome = run("scan", tmp_path / "model.zip")
    assert outcome.code == 2
    assert str(tmp_path / "model.zip") in outcome.complaint


def test_pattern_that_matches_nothing(run: Run, tmp_path: Path) -> None:
    outcome = run("scan", f"{tmp_path}/*.zip")
    assert outcome.code == 2
    assert f"{tmp_path}/*.zip" in outcome.complaint


def test_link_that_leads_nowhere(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.symlink_to(tmp_path / "gone.zip")
    outcome = run("scan", path)
    assert outcome.code == 2
    assert str(path) in outcome.complaint


def test_links_that_lead_in_a_circle(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.symlink_to(path)
    outcome = run("scan", path)
    assert outcome.code == 2
    assert str(path) in outcome.complaint


def test_folder_that_links_to_itself_ends(run: Run, tmp_path: Path, healthy: Path) -> None:
    (tmp_path / "model.zip").write_bytes(healthy.read_bytes())
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert run("scan", tmp_path).code == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_does_not_hang(shell: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    os.mkfifo(path)
    outcome = shell("scan", path, timeout=20)
    assert outcome.code == 2
    assert outcome.complaint == f"sacdoctor: {path}: it is not a regular file"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_device_without_end_does_not_hang(shell: Run) -> None:
    outcome = shell("scan", "/dev/zero", timeout=20)
    assert outcome.code == 2
    assert outcome.complaint == "sacdoctor: /dev/zero: it is not a regular file"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_file_without_permission(run: Run, tmp_path: Path, healthy: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(healthy.read_bytes())
    assert run("scan", path).code == 0
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)  # root may read everything, nobody may not
    try:
        outcome = run("scan", path)
    finally:
        if root:
            os.seteuid(0)
    assert outcome.code == 2
    assert outcome.complaint == f"sacdoctor: {path}: Permission denied"


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be deleted there")
def test_deleted_working_folder(shell: Run, tmp_path: Path, healthy: Path) -> None:
    """A shell may stand in a folder that a clean-up has removed."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from sacdoctor.cli.main import main; main()"
    # -P: the command does not look for modules in the working folder either, and Python 3.13.0
    # cannot say that a module lacks a name (numpy asks) where that folder is gone.
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "scan", str(healthy)],
        cwd=gone,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- what must not be obeyed -------------------------------------------------------------------


def test_a_pickle_that_would_write_a_file_does_not(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = f"touch {trace}".encode()
    evil = b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(command)) + command + b"\x85R."
    settings = {"lr_schedule": {":type:": "function", ":serialized:": base64.b64encode(evil)}}
    settings["policy_class"] = settings["lr_schedule"]
    data = json.dumps(settings, default=bytes.decode).encode()
    for name, content in {"data": sound(data=data), "policy": with_pickle(evil)}.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(content)
        assert run("scan", path).code == (1 if name == "data" else 2)
    assert not trace.exists()


def test_a_class_name_nested_without_end_is_no_traceback(run: Run, tmp_path: Path) -> None:
    deep = b"cos\nsystem\n" * 50_000 + b"N" + b"\x85R" * 50_000 + b"."
    value = {":type:": "type", ":serialized:": base64.b64encode(deep).decode()}
    path = tmp_path / "model.zip"
    path.write_bytes(sound(data=json.dumps({"policy_class": value}).encode()))
    outcome = run("scan", path)
    assert (outcome.code, outcome.err) == (1, "")


def test_a_small_pickle_cannot_ask_for_endless_memory(run: Run, tmp_path: Path) -> None:
    """Copies of one long list, each asked for by seven bytes: 100 GB if they were all made."""
    long = b"\x80\x02cbuiltins\nlist\nq\1](" + b"N" * 400_000 + b"eq\0"
    pickle = long + b"h\1h\0\x85R" * 30_000 + b"."
    path = tmp_path / "model.zip"
    path.write_bytes(with_pickle(pickle))
    outcome = run("scan", path)
    assert outcome.code == 2
    assert str(path) in outcome.complaint


def test_control_characters_of_a_name_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    red = "\x1b[31mred\x07"
    policy = {f"{red}.weight": th.ones(4, 4), f"{red}.bias": th.zeros(4)}
    path = tmp_path / f"{red}\n.zip"
    path.write_bytes(zip_of(sb3_members(policy)))
    outcome = run("scan", path, "--all")
    assert outcome.code == 1
    assert "\x1b" not in outcome.out
    assert "\x07" not in outcome.out
    assert "\\x1b[31mred\\x07" in outcome.out
    path.write_bytes(b"")
    assert "\x1b" not in run("scan", path).complaint


def test_control_characters_of_an_unlisted_name_do_not_reach_the_terminal(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(with_pickle(call_of("os\x1b[2J", "sys\rtem")))
    outcome = run("scan", path)
    assert outcome.code == 2
    assert "\x1b" not in outcome.complaint
    assert "\r" not in outcome.complaint


def test_an_unlisted_name_of_a_megabyte_is_cut_short(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(with_pickle(call_of("os", "x" * MIB)))
    outcome = run("scan", path)
    assert outcome.code == 2
    assert len(outcome.complaint) < 1000


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("rules", "schema")])
def test_a_name_longer_than_names_can_be_is_one_line(run: Run, broken: Path, verb: str) -> None:
    name = "a" * 300
    outcome = run(verb, *([broken] if verb == "diff" else []), name)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"sacdoctor: {name}: File name too long\n"


@pytest.mark.parametrize("verb", ["scan", "fix-config", "history"])
def test_an_output_that_cannot_be_named_is_one_line(run: Run, broken: Path, verb: str) -> None:
    name = "a" * 300
    outcome = run(verb, broken.parent if verb == "history" else broken, "--output", name)
    assert outcome.code == 2
    assert outcome.err.endswith(f"{name}: it cannot be written: File name too long\n")
