"""SB3's logger: `progress.csv` and TensorBoard's event files say the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from stable_baselines3.common.logger import configure

from sacdoctor.history.scalars import TensorBoardMissing, read_scalars
from tests.conftest import child_environment
from tests.runs import Runs


def write(folder: Path, *formats: str) -> None:
    logger = configure(str(folder), list(formats))
    for row in range(1, 6):
        logger.record("time/total_timesteps", 100 * row, exclude="tensorboard")
        logger.record("rollout/ep_rew_mean", -1.5 * row)
        if row > 2:
            logger.record("train/ent_coef", 1.0 / row)
            logger.record("note", 'a "word", and another')
        logger.dump(100 * row)
    logger.close()


@pytest.mark.parametrize("format", ["csv", "tensorboard"])
def test_what_sb3_logged_is_read_back(tmp_path: Path, format: str) -> None:
    write(tmp_path, format)
    ((log,), errors) = read_scalars(tmp_path)
    assert (errors, log.skipped) == ([], 0)
    reward, entropy = log.series["rollout/ep_rew_mean"], log.series["train/ent_coef"]
    assert reward.timesteps.tolist() == [100, 200, 300, 400, 500]
    assert reward.values.tolist() == [-1.5, -3.0, -4.5, -6.0, -7.5]
    assert entropy.timesteps.tolist() == [300, 400, 500]
    assert entropy.values.tolist() == pytest.approx([1 / 3, 1 / 4, 1 / 5])


def test_value_at_a_step_is_the_last_one_logged(tmp_path: Path) -> None:
    write(tmp_path, "csv")
    ((log,), _) = read_scalars(tmp_path)
    series = log.series["rollout/ep_rew_mean"]
    assert [series.at(step) for step in (99, 100, 299, 9_999)] == [None, -1.5, -3.0, -7.5]


def test_event_files_beside_a_table_are_not_read_twice(tmp_path: Path) -> None:
    write(tmp_path, "csv", "tensorboard")
    ((log,), _) = read_scalars(tmp_path)
    assert log.path == tmp_path / "progress.csv"


def test_event_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    write(tmp_path, "tensorboard")
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    ((log,), errors) = read_scalars(tmp_path)
    assert errors == []
    assert log.series["rollout/ep_rew_mean"].values.tolist()[:4] == [-1.5, -3.0, -4.5, -6.0]


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 8], ids=["empty", "garbage"])
def test_event_file_without_anything_in_it_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "events.out.tfevents.1.host").write_bytes(content)
    logs, (error,) = read_scalars(tmp_path)
    assert logs == []
    assert (error.path, error.reason) == (tmp_path, "its event files hold nothing that SB3 logs")


def test_other_progress_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "progress.csv").write_text("epoch,loss\n1,2\n")
    logs, (error,) = read_scalars(tmp_path)
    assert logs == []
    assert "time/total_timesteps" in error.reason


def test_without_tensorboard_one_line_says_what_to_install(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    logs, (error,) = read_scalars(runs("tensorboard"))
    assert logs == []
    assert isinstance(error, TensorBoardMissing)
    assert "pip install tensorboard" in error.reason


def test_history_imports_no_torch(runs: Runs) -> None:
    code = f"import sacdoctor, sys; sacdoctor.read_history({str(runs('tensorboard'))!r});"
    done = subprocess.run(
        [sys.executable, "-c", code + "print(*sys.modules)"],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=True,
    )
    assert not {"torch", "stable_baselines3", "pandas", "tensorflow"} & set(done.stdout.split())
