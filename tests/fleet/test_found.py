"""Many checkpoints: what a path stands for, and that one bad file stops nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sacdoctor import Report, SacdoctorError, ScanOptions
from sacdoctor.fleet import Look, executors, find_checkpoints, look, reports_on
from tests.conftest import child_environment


@pytest.fixture
def tree(tmp_path: Path, healthy_bytes: bytes) -> Path:
    """`run/` with checkpoints at two depths, and other files beside them."""
    run = tmp_path / "run"
    for name in ("b.zip", "a.zip", "deep/er/c.ZIP", "policy.pth", "buffer.pkl", "zip"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(healthy_bytes)
    return run


def names(*paths: object) -> list[str]:
    return [Path(str(target)).name for target in find_checkpoints(map(str, paths))]


def test_folder_stands_for_every_zip_below(tree: Path) -> None:
    assert names(tree) == ["a.zip", "b.zip", "c.ZIP"]


def test_file_stands_for_itself_whatever_its_name(tree: Path) -> None:
    assert names(tree / "policy.pth", tree / "zip") == ["policy.pth", "zip"]


def test_folder_stands_for_every_pickle_where_code_alone_is_asked_for(tree: Path) -> None:
    def below(*select: str) -> list[str]:
        targets = find_checkpoints([str(tree)], ScanOptions(select=select))
        return [Path(str(target)).name for target in targets]

    assert below("SD6") == ["a.zip", "b.zip", "buffer.pkl", "c.ZIP", "policy.pth", "zip"]
    assert below("SD6", "SD101") == below() == ["a.zip", "b.zip", "c.ZIP"]


def test_each_file_comes_once(tree: Path) -> None:
    assert names(tree / "b.zip", tree, tree / "b.zip") == ["b.zip", "a.zip", "c.ZIP"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.zip", ["a.zip", "b.zip"]),
        ("[!a].zip", ["b.zip"]),
        ("?.zip", ["a.zip", "b.zip"]),
        ("**/*.ZIP", ["c.ZIP"]),
        ("deep", ["c.ZIP"]),
        ("d*p", ["c.ZIP"]),
    ],
)
def test_patterns(tree: Path, pattern: str, expected: list[str]) -> None:
    assert names(f"{tree}/{pattern}") == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(
    tree: Path, healthy_bytes: bytes
) -> None:
    (tree / "model[1].zip").write_bytes(healthy_bytes)
    (tree / "model1.zip").write_bytes(healthy_bytes)
    assert names(tree / "model[1].zip") == ["model[1].zip"]


def test_folder_whose_name_looks_like_a_pattern(tmp_path: Path, healthy_bytes: bytes) -> None:
    folder = tmp_path / "lr[0.1]"
    folder.mkdir()
    (folder / "m.zip").write_bytes(healthy_bytes)
    assert names(folder) == ["m.zip"]


@pytest.mark.parametrize("place", ["empty", "no*match.zip"])
def test_what_leads_nowhere_is_an_error_in_its_place(tree: Path, place: str) -> None:
    (tree / "empty").mkdir()
    first, error, last = find_checkpoints(map(str, (tree / "a.zip", tree / place, tree / "b.zip")))
    assert isinstance(error, SacdoctorError)
    assert str(error).startswith(f"{tree / place}: ")
    assert [first, last] == [tree / "a.zip", tree / "b.zip"]


def test_order_within_a_folder_is_the_same_everywhere(tmp_path: Path, healthy_bytes: bytes) -> None:
    for name in ("10", "9", "a", "B"):
        (tmp_path / f"{name}.zip").write_bytes(healthy_bytes)
    assert names(tmp_path) == ["10.zip", "9.zip", "B.zip", "a.zip"]


def test_every_target_has_its_report(tree: Path) -> None:
    (tree / "a.zip").write_bytes(b"no zip")
    targets = find_checkpoints([str(tree), str(tree / "missing.zip")])
    reports = list(reports_on(targets, Look(ScanOptions())))
    assert [report.status for report in reports] == ["error", "healthy", "healthy", "error"]
    assert [report.path for report in reports] == [str(target) for target in targets]
    assert all((report.error is None) == (report.status != "error") for report in reports)


def test_reports_come_one_by_one(tree: Path) -> None:
    reports = reports_on(find_checkpoints([str(tree)]), Look(ScanOptions()))
    next(reports)
    (tree / "b.zip").unlink()
    assert next(reports).status == "error"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_files_stay_as_they_are(tree: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tree.glob("*.zip")}
    list(reports_on(find_checkpoints([str(tree)]), Look(ScanOptions())))
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tree.glob("*.zip")}
    assert after == before


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_processors", lambda: 2)


def test_many_targets_on_several_processors_come_in_order(
    tree: Path, two_processors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [tree / name for name in ("a.zip", "missing.zip", "b.zip")] * 8
    in_parallel = list(reports_on(targets, Look(ScanOptions())))
    monkeypatch.setattr(executors, "_processors", lambda: 1)
    assert in_parallel == list(reports_on(targets, Look(ScanOptions())))
    assert [report.path for report in in_parallel] == [str(target) for target in targets]
    assert {report.status for report in in_parallel} == {"healthy", "error"}


def test_a_file_that_ends_its_process_costs_no_other_its_report(
    tree: Path, two_processors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = look.scan

    def killed(path: Path, options: ScanOptions) -> Report:
        if path.name == "a.zip":
            os.kill(os.getpid(), signal.SIGKILL)
        return scan(path, options)

    monkeypatch.setattr(look, "scan", killed)
    reports = list(reports_on([tree / "a.zip", tree / "b.zip"] * 8, Look(ScanOptions())))
    assert [report.path for report in reports] == [str(tree / "a.zip"), str(tree / "b.zip")] * 8
    for report in reports:
        if report.path.endswith("a.zip"):
            assert "ended from outside" in (report.error or "")
        else:
            assert report.status == "healthy"


def test_control_c_ends_all_processes_in_one_line(tree: Path) -> None:
    for number in range(400):
        (tree / f"link{number}.zip").symlink_to(tree / "a.zip")
    many = [str(path) for path in sorted(tree.glob("link*.zip"))]
    child = subprocess.Popen(
        [sys.executable, "-m", "sacdoctor", "scan", "--format", "json", *many],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,
    )
    assert child.stdout is not None
    child.stdout.read(20_000)  # it is at work
    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (130, b"sacdoctor: interrupted\n")


def test_a_folder_without_sb3s_files_stands_for_those_of_torch(tmp_path: Path) -> None:
    for name in ("actor.pt", "critic.pth", "weights.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    assert find_checkpoints([str(tmp_path)]) == [tmp_path / "actor.pt", tmp_path / "critic.pth"]
    (tmp_path / "model.zip").touch()
    assert find_checkpoints([str(tmp_path)]) == [tmp_path / "model.zip"]
