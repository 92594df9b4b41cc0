"""What is trained for the tests is trained once, and no test can spoil it for the next."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import kept
from tests.kept import DAYS, Kept, key

Make = Callable[[Path], object]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def made(tmp_path: Path) -> list[Path]:
    """Each time that something was made."""
    return []


@pytest.fixture
def make(made: list[Path]) -> Make:
    def write(folder: Path) -> None:
        made.append(folder)
        (folder / "model.zip").write_text("trained")

    return write


def test_the_next_run_trains_nothing(
    cache: Path, tmp_path: Path, make: Make, made: list[Path]
) -> None:
    for run in ("first", "second"):
        folder = Kept(cache, tmp_path / run)("ppo", make)
        assert folder == tmp_path / run / "ppo"
        assert (folder / "model.zip").read_text() == "trained"
    assert len(made) == 1


def test_a_test_that_changes_its_file_changes_nothing_for_the_next_run(
    cache: Path, tmp_path: Path, make: Make
) -> None:
    (Kept(cache, tmp_path / "first")("ppo", make) / "model.zip").write_text("spoilt")
    assert (Kept(cache, tmp_path / "second")("ppo", make) / "model.zip").read_text() == "trained"


def test_a_training_that_ends_early_leaves_nothing(cache: Path, tmp_path: Path, make: Make) -> None:
    def fail(folder: Path) -> None:
        make(folder)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Kept(cache, tmp_path / "first")("ppo", fail)
    assert [path.name for path in (cache / key()).iterdir()] == ["ppo.lock"]
    assert (Kept(cache, tmp_path / "second")("ppo", make) / "model.zip").exists()


def test_two_that_want_the_same_wait_for_one_training(
    cache: Path, tmp_path: Path, make: Make, made: list[Path]
) -> None:
    def slowly(folder: Path) -> None:
        make(folder)
        time.sleep(0.1)

    both = [
        threading.Thread(target=Kept(cache, tmp_path / name), args=("ppo", slowly))
        for name in ("one", "other")
    ]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(made) == 1
    assert all((tmp_path / name / "ppo" / "model.zip").exists() for name in ("one", "other"))


def test_other_code_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fixtures/faults.py", *kept.TRAINS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("steps = 200\n")
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    before = key()
    assert key() == before
    (tmp_path / "fixtures" / "faults.py").write_text("steps = 100\n")
    assert key() != before


def test_other_versions_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(kept, "version", lambda name: "0.1")
    assert key() != before


def test_what_nobody_has_used_for_long_is_removed(cache: Path, tmp_path: Path, make: Make) -> None:
    for name, days in (("old", DAYS + 1), ("recent", DAYS - 1)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (time.time() - days * 86_400,) * 2)
    Kept(cache, tmp_path / "run")("ppo", make)
    assert {path.name for path in cache.iterdir()} == {"recent", key()}
