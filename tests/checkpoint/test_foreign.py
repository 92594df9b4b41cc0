"""What a file is instead of a checkpoint, in one line that says what to do."""

from __future__ import annotations

import glob
import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sacdoctor.checkpoint.foreign import foreign_bytes
from tests.conftest import ROOT, Run

MODEL = ROOT / "fixtures" / "checkpoints" / "sac_two_head.zip"
POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 3145728
"""
"""The example of git-lfs's docs/spec.md, with another size."""
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in &middot; GitLab</title></head></html>"


def packed(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def in_folder(folder: str) -> bytes:
    """The model unpacked, and its folder packed, as a file manager does it."""
    with zipfile.ZipFile(MODEL) as model:
        inner = {folder + name: model.read(name) for name in model.namelist()}
    return packed({folder: b"", **inner, f"__MACOSX/{folder}._data": b"\x00"})


def torchscript() -> bytes:
    out = io.BytesIO()
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 2))), out)  # type: ignore[no-untyped-call]
    return out.getvalue()


def arrays(many: bool) -> bytes:
    out = io.BytesIO()
    np.savez(out, x=np.ones(3)) if many else np.save(out, np.ones(3))
    return out.getvalue()


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """A protobuf message of short fields: texts and small numbers."""
    return b"".join(
        bytes([number << 3, value])
        if isinstance(value, int)
        else bytes([number << 3 | 2, len(value)]) + value
        for number, value in fields
    )


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("checkpoint"))
    return out.getvalue()


ONNX = message((1, 8), (2, b"pytorch"), (3, b"2.1"), (7, message((2, b"main"))), (8, b"\x10\x11"))
KERAS = packed(
    {"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b"\x89HDF\r\n\x1a\n"}
)
FILES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "git lfs": (lambda: POINTER, "a Git LFS pointer", "3,145,728 bytes: fetch that with `git lfs"),
    "page": (lambda: PAGE, "an HTML page (“Sign in · GitLab”)", "download the file itself"),
    "refusal": (
        lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "an XML document (AccessDenied)",
        "download the file itself",
    ),
    "zip in zip": (
        lambda: packed({"model.zip": MODEL.read_bytes(), "readme.md": b""}),
        "a zip archive with checkpoints in it (model.zip)",
        "sacdoctor scan unpacked",
    ),
    "two zips": (
        lambda: packed({"a.zip": b"", "runs/b.zip": b""}),
        "a zip archive with checkpoints in it (a.zip and 1 more)",
        "unpack it",
    ),
    "folder packed": (lambda: in_folder("model/"), "with its folder (model/)", "zip model/*`"),
    "hostile name": (lambda: in_folder("x; rm -r y/"), "with its folder (FOLDER/)", "FOLDER/*`"),
    "RLlib": (
        lambda: packed({"rllib_checkpoint.json": b"{}", "algorithm_state.pkl": b"\x80\x04N."}),
        "a checkpoint of RLlib",
        "state_dict()",
    ),
    "TorchScript": (torchscript, "a TorchScript module", "state_dict()"),
    "ONNX": (lambda: ONNX, "an ONNX model", "it was exported from"),
    "SavedModel": (lambda: message((1, 1), (2, b"\n\0")), "a SavedModel of TensorFlow", "reads"),
    "Keras": (lambda: KERAS, "a Keras model", "reads"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(88), "an HDF5 file", "reads"),
    "HDF5 with a block before": (
        lambda: b"settings".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(88),
        "an HDF5 file",
        "reads",
    ),
    "TensorFlow": (
        lambda: bytes(40) + (0xDB4775248B80FB57).to_bytes(8, "little"),
        "a checkpoint of TensorFlow",
        "reads",
    ),
    "npz": (lambda: arrays(many=True), "an archive of NumPy arrays (.npz)", "no checkpoint"),
    "npy": (lambda: arrays(many=False), "a NumPy array (.npy)", "no checkpoint"),
    "tar": (tar, "a tar archive", "unpack it"),
    "gzip": (lambda: gzip.compress(b"x"), "a gzip file", "unpack it"),
    "xz": (lambda: b"\xfd7zXZ\x00", "a compressed file", "unpack it"),
    "zeros": (lambda: bytes(5000), "5,000 zero bytes", "was not finished"),
    "JSON": (lambda: b'{"learning_rate": 0.0003}', "a JSON file", "fix-config"),
    "YAML": (lambda: b"# tuned\nsac:\n  gamma: 0.98\n", "a YAML file", "fix-config"),
    "cut off": (lambda: MODEL.read_bytes()[:20_000], "it was cut off", "fetch or save it again"),
    "empty": (lambda: b"", "the file is empty", ""),
}


@pytest.mark.parametrize("verb", ["scan", "fix", "diff", "fix-config", "warmup"])
@pytest.mark.parametrize("kind", FILES)
def test_every_verb_says_the_same_line(kind: str, verb: str, run: Run, tmp_path: Path) -> None:
    make, words, remedy = FILES[kind]
    path = tmp_path / "model.zip"
    path.write_bytes(make())
    outcome = run(verb, path, *([MODEL] if verb == "diff" else []))
    assert outcome.code == 2
    assert words in outcome.err and remedy in outcome.err
    assert outcome.complaint
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("kind", FILES)
def test_history_lists_it_beside_what_it_reads(kind: str, run: Run, tmp_path: Path) -> None:
    make, words, _ = FILES[kind]
    (tmp_path / "model.zip").write_bytes(make())
    assert words in run("history", tmp_path).err


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "buffer.pkl", "model.onnx"])
def test_the_name_of_a_file_decides_nothing(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(POINTER)
    assert "3,145,728 bytes: fetch that with `git lfs pull`" in run("scan", tmp_path / name).err


def test_replay_buffer_that_git_lfs_left_is_named_by_warmup(run: Run, tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "model.zip")
    (tmp_path / "model_replay_buffer.pkl").write_bytes(POINTER)
    assert "git lfs pull" in run("warmup", tmp_path / "model_replay_buffer.pkl").err


@pytest.mark.parametrize("verb", ["scan", "history"])
@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("rllib_checkpoint.json", "policies/default_policy/policy_state.pkl"), "RLlib"),
        (("saved_model.pb", "variables/variables.index"), "a SavedModel of TensorFlow"),
        (("ck-1.index", "ck-1.data-00000-of-00001", "checkpoint"), "a checkpoint of TensorFlow"),
        (("model/data", "model/policy.pth"), "a checkpoint of SB3 that was unpacked"),
    ],
)
def test_folders_are_named_too(
    verb: str, files: tuple[str, ...], words: str, run: Run, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    outcome = run(verb, tmp_path)
    assert outcome.code == 2 and words in outcome.err


def test_packing_the_folder_s_contents_makes_a_checkpoint_again(run: Run, tmp_path: Path) -> None:
    """The command in the line, carried out."""
    (tmp_path / "model.zip").write_bytes(in_folder("model/"))
    before = json.loads(run("scan", "--format", "json", MODEL).out)
    zipper = [sys.executable, "-m", "zipfile"]
    subprocess.run([*zipper, "-e", "model.zip", "."], cwd=tmp_path, check=True)
    inner = sorted(glob.glob("model/*", root_dir=tmp_path))
    subprocess.run([*zipper, "-c", "repacked.zip", *inner], cwd=tmp_path, check=True)
    after = json.loads(run("scan", "--format", "json", tmp_path / "repacked.zip").out)
    assert after["checkpoints"][0]["layers"] == before["checkpoints"][0]["layers"]


def test_what_cleanrl_saves_is_read(run: Run, tmp_path: Path) -> None:
    """cleanrl/ppo.py: torch.save(agent.state_dict(), f"runs/{run_name}/{exp}.cleanrl_model")."""
    path = tmp_path / "ppo.cleanrl_model"
    agent = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2))
    torch.save(agent.state_dict(), path)
    report = json.loads(run("scan", "--format", "json", path).out)
    assert report["checkpoints"][0]["summary"]["bias_tensors"] == 2


@pytest.mark.parametrize(
    "data",
    [
        b"hello, this is not a checkpoint at all",
        b"P",
        b"\x80\x04N.",
        b"a: b\x00",
        b"note: x\nand y",
    ],
)
def test_nothing_is_guessed(data: bytes) -> None:
    assert foreign_bytes(memoryview(data)) is None
