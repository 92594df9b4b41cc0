"""The benchmark of collapses: what it makes of a training, and what it counts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from benchmarks.crashes import BREAKAGES, LEFT, cases, count
from sacdoctor.history.crash import TOTAL


def _write(path: Path, returns: np.ndarray, broken_at: int) -> None:  # type: ignore[type-arg]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["r", "l", broken_at])
        rows.writerows((value, 10) for value in returns)


def _training(folder: Path, breakage: str) -> None:
    """Learned from episode 100 on, broken at 200: 150 episodes as at random follow."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    healthy = np.where(np.arange(300) < 100, 20.0, 400.0) + draw.normal(0, 5, 300)
    at_random = 20.0 + draw.normal(0, 5, 150)
    _write(folder / "healthy.csv", healthy, 200)
    _write(folder / "random.csv", at_random[:50], 0)
    _write(folder / f"{breakage}.csv", np.concatenate([healthy[:200], at_random]), 200)


def test_broken_training_is_shortened_to_each_number_of_episodes(tmp_path: Path) -> None:
    breakage = next(iter(BREAKAGES))
    _training(tmp_path / "made_0", breakage)
    of_break = [case for case in cases(tmp_path / "made_0") if case.kind == breakage]
    assert [case.left for case in of_break] == list(LEFT)
    assert all(200 in (case.crash or ()) for case in of_break)
    assert [len(case.log) for case in of_break] == [200 + left for left in LEFT]


def test_clear_collapses_are_named_and_nothing_else(tmp_path: Path) -> None:
    _training(tmp_path / "made_0", "weights zeroed")
    counts = count([tmp_path / "made_0"])
    assert {"healthy", "noisy plateau", "weights zeroed", "goes on at random"} <= {
        kind for _, kind in counts
    }
    verdicts = [
        verdict
        for of_kind in counts.values()
        for left, of_left in of_kind.items()
        if left == 0 or left >= TOTAL
        for verdict in of_left
    ]
    assert len(verdicts) > 40 and not any(is_wrong for is_wrong, _ in verdicts)


def test_training_that_fell_by_itself_is_not_called_healthy(tmp_path: Path) -> None:
    _training(tmp_path / "made_0", "weights zeroed")
    fallen = tmp_path / "made_0" / "weights zeroed.csv"
    fallen.rename(tmp_path / "made_0" / "healthy.csv")
    (case,) = cases(tmp_path / "made_0")
    assert case.kind == "fell by itself"
    assert case.crash is not None and 200 in case.crash
    assert case.verdict == (False, False)
