"""A folder followed: each checkpoint once, when it is complete."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sacdoctor import Report, SacdoctorError, ScanOptions
from sacdoctor.history.watch import landings

INTERVAL = 0.05


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def follow(folder: Path, patience: float = 30.0) -> Iterator[Report]:
    return landings(folder, ScanOptions(), INTERVAL, patience)


def soon(*actions) -> None:  # type: ignore[no-untyped-def]
    """Does one thing after the other in the background, with a few looks between them."""

    def act() -> None:
        for action in actions:
            time.sleep(6 * INTERVAL)
            action()

    threading.Thread(target=act, daemon=True).start()


def test_those_that_are_there_come_first_the_oldest_first(
    folder: Path, healthy_bytes: bytes
) -> None:
    import os

    for age, name in enumerate(("b.zip", "a.zip", "c.zip")):
        (folder / name).write_bytes(healthy_bytes)
        os.utime(folder / name, (time.time() - 100 - age,) * 2)
    reports = follow(folder)
    assert [Path(next(reports).path).name for _ in range(3)] == ["c.zip", "a.zip", "b.zip"]


def test_checkpoint_is_reported_when_it_lands(folder: Path, broken: Path) -> None:
    soon(lambda: shutil.copy(broken, folder / "late.zip"))
    report = next(follow(folder))
    assert (report.path, report.status) == (str(folder / "late.zip"), "critical")
    assert report.num_timesteps is not None


def test_half_written_file_is_waited_for(folder: Path, healthy_bytes: bytes) -> None:
    path = folder / "model.zip"
    path.write_bytes(healthy_bytes[: len(healthy_bytes) // 2])
    soon(lambda: path.write_bytes(healthy_bytes))
    report = next(follow(folder))
    assert (report.error, report.status) == (None, "healthy")


def test_file_that_stays_broken_is_reported_once(folder: Path, healthy_bytes: bytes) -> None:
    (folder / "half.zip").write_bytes(healthy_bytes[:5_000])
    soon(lambda: None, lambda: None, lambda: (folder / "whole.zip").write_bytes(healthy_bytes))
    reports = follow(folder, patience=2 * INTERVAL)
    first, second = next(reports), next(reports)
    assert (Path(first.path).name, first.status) == ("half.zip", "error")
    assert (Path(second.path).name, second.status) == ("whole.zip", "healthy")


def test_file_that_is_written_again_is_reported_again(
    folder: Path, healthy: Path, broken: Path
) -> None:
    best = folder / "best_model.zip"
    shutil.copy(healthy, best)
    reports = follow(folder)
    assert next(reports).status == "healthy"
    soon(lambda: shutil.copy(broken, best))
    assert next(reports).status == "critical"


def test_folder_that_goes_ends_it(folder: Path) -> None:
    soon(folder.rmdir)
    with pytest.raises(SacdoctorError, match="the folder is gone"):
        next(follow(folder))


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SacdoctorError, match="No such file or directory"):
        next(follow(tmp_path / "missing"))
