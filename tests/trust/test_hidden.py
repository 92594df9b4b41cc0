"""A gate over a folder: what holds a pickle is looked into, what was not entered fails it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch as th

from sacdoctor.errors import SacdoctorError
from sacdoctor.trust import holds_hidden_pickle
from tests.archives import saved, write_sb3, zip_of
from tests.conftest import Run
from tests.payloads import Calls

HARM = Calls(os.system, "true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a checkpoint that is harmless, so that a gate over it passes."""
    path = tmp_path / "models"
    (path / "deep").mkdir(parents=True)
    write_sb3(path / "deep" / "model.zip", {"fc.weight": th.ones(2, 2), "fc.bias": th.ones(2)})
    return path


def gate(run: Run, folder: Path) -> tuple[int, str]:
    outcome = run("scan", folder, "--select", "SD6")
    return outcome.code, outcome.out + outcome.err


def test_a_folder_of_which_all_is_known_passes(run: Run, folder: Path) -> None:
    (folder / "notes.txt").write_text("class notes\n")
    (folder / "deep" / "empty").touch()
    assert gate(run, folder)[0] == 0


# -- pickles under other names -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.bin", "model", "x.ckpt", "data.txt", "y.safetensors"])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_is_told_whatever_it_is_called(
    run: Run, folder: Path, name: str, protocol: int
) -> None:
    (folder / name).write_bytes(pickle.dumps(HARM, protocol))
    code, said = gate(run, folder)
    assert code in (1, 2)
    assert name in said


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_torch_is_looked_into_whatever_it_is_called(
    run: Run, folder: Path, legacy: bool
) -> None:
    (folder / "policy.bin").write_bytes(saved({"fc.bias": th.ones(2)}, legacy=legacy))
    assert gate(run, folder)[0] == 0
    (folder / "policy.bin").write_bytes(saved({"fc.bias": HARM}, legacy=legacy))
    code, said = gate(run, folder)
    assert code == 1
    assert "policy.bin" in said


def test_a_zip_is_looked_into_if_there_are_pickles_inside(run: Run, folder: Path) -> None:
    (folder / "report.docx").write_bytes(zip_of({"word/document.xml": b"<w/>"}))
    (folder / "evaluations.npz").write_bytes(npz(results=np.ones((3, 5))))
    assert gate(run, folder)[0] == 0
    (folder / "report.docx").write_bytes(zip_of({"word/document.xml": pickle.dumps(HARM)}))
    code, said = gate(run, folder)
    assert code != 0
    assert "report.docx" in said


def test_damage_behind_the_harm_hides_nothing(run: Run, folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR\xff\xff")
    code, said = gate(run, folder)
    assert code == 2
    assert "weights.bin" in said


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tar(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("old.bin", tar("storages"), "a tar archive"),
        ("buffer.pkl.gz", gzip.compress(pickle.dumps(1), mtime=0), "compressed"),
        ("a.npy", npy(np.array([{}], dtype=object)), "Python objects"),
        ("a.npz", npz(a=np.array([{}], dtype=object)), "Python objects"),
        ("b.npy", npy(np.array([(1, {})], dtype=[("n", int), ("o", object)])), "Python objects"),
        ("old.txt", pickle.dumps(HARM, 0), "name it .pkl"),
    ],
)
def test_what_no_scan_looks_into_is_named_with_what_to_do(
    folder: Path, name: str, content: bytes, reason: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(SacdoctorError, match=reason):
        holds_hidden_pickle(folder / name)


def texts() -> Iterator[tuple[str, bytes]]:
    table = io.StringIO()
    csv.writer(table).writerows([["count", "mean"], [1, 2.5], [3, 4.5]])
    yield "progress.csv", table.getvalue().encode()
    yield "cities.csv", b"city\nLondon\ntram\nR.\n"
    yield "requirements.txt", b"cloudpickle\ngymnasium\ntorch\n"
    yield "policy.py", b"class Policy:\n    pass\n"
    yield "args.json", json.dumps({"seed": 1}).encode()
    yield "config.yml", b"!!python/object/apply:collections.OrderedDict\n- - - batch_size\n"
    yield "Makefile", b"(cd src && make)\n"
    yield "picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    yield "table.parquet", b"PAR1\x15\x04\x15\n\x00PAR1"
    yield "a.npy", npy(np.ones(3))
    yield "data.csv.gz", gzip.compress(b"1,2\n", mtime=0)
    yield "zeros", bytes(1000)


@pytest.mark.parametrize(("name", "content"), list(texts()))
def test_other_files_are_passed_over(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert holds_hidden_pickle(folder / name) is False


def test_a_scan_for_health_goes_by_names_alone(run: Run, folder: Path) -> None:
    (folder / "weights.bin").write_bytes(pickle.dumps(HARM))
    (folder / "elsewhere").symlink_to(folder.parent)
    outcome = run("scan", folder)
    assert outcome.err == ""


# -- what is not entered -----------------------------------------------------------------------


def test_a_link_that_leads_out_of_the_folder_is_named_and_fails(run: Run, folder: Path) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (folder / "deep" / "link").symlink_to(other)
    outcome = run("scan", folder, "--select", "SD6")
    assert outcome.code == 2
    assert outcome.complaint == (
        f"sacdoctor: {folder / 'deep' / 'link'}: it is a link to {other}, which was not entered"
    )


def test_a_link_to_a_folder_within_hides_nothing(run: Run, folder: Path) -> None:
    (folder / "latest").symlink_to("deep")
    (folder / "deep" / "circle").symlink_to(folder)
    assert gate(run, folder)[0] == 0


def test_a_link_to_a_file_is_followed(run: Run, folder: Path) -> None:
    (folder.parent / "harm").write_bytes(pickle.dumps(HARM))
    (folder / "innocent").symlink_to(folder.parent / "harm")
    code, said = gate(run, folder)
    assert code == 1
    assert "innocent" in said


def test_a_link_that_leads_nowhere_and_a_pipe_are_nothing_to_load(run: Run, folder: Path) -> None:
    (folder / ".#lock").symlink_to("user@host.1234")
    os.mkfifo(folder / "pipe")
    assert gate(run, folder)[0] == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("name", ["model.zip", "notes.txt", "secret"])
def test_what_may_not_be_read_is_named_and_fails(run: Run, folder: Path, name: str) -> None:
    denied = folder / name
    if name == "secret":
        denied.mkdir()
    else:
        denied.write_text("?")
    denied.chmod(0)
    for parent in folder.parents:  # pytest's own are root's alone
        if parent.stat().st_mode & 0o777 == 0o700:
            parent.chmod(0o711)
    os.seteuid(65_534)
    try:
        code, said = gate(run, folder)
    finally:
        os.seteuid(0)
        denied.chmod(0o700)
    assert code == 2
    assert f"{denied}: " in said
    assert "Permission denied" in said


def test_json_has_what_was_not_entered_among_the_files(run: Run, folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent)
    document = json.loads(run("scan", folder, "--select", "SD6", "--format", "json").out)
    told = {Path(one["path"]).name: one["status"] for one in document["checkpoints"]}
    assert told == {"model.zip": "healthy", "link": "error"}
