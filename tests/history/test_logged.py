"""Findings in logs, as SB3's own logger writes them; of real trainings: `test_labelled_runs`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.logger import configure

from sacdoctor import read_history
from sacdoctor.history import History
from tests.archives import members_of, zip_of
from tests.conftest import Run
from tests.runs import Runs


def write(folder: Path, series: Mapping[str, Sequence[float]]) -> None:
    """A log as SB3's own logger writes it, with a row every 100 steps."""
    logger = configure(str(folder), ["csv"])
    for row, values in enumerate(zip(*series.values(), strict=True), 1):
        logger.record("time/total_timesteps", 100 * row)
        for name, value in zip(series, values, strict=True):
            logger.record(name, value)
        logger.dump(100 * row)
    logger.close()


def told(history: History) -> list[tuple[str, str]]:
    return [(of.finding.rule, of.finding.severity.value) for of in history.logged]


@pytest.mark.parametrize(
    "values, is_told",
    [
        ([0.02, 3.0, 0.02, 2.0, 0.02], True),
        ([0.02, 3.0, 0.02, 0.02, 0.02], False),  # one may be an accident
        ([0.02] * 60 + [3.0, 2.0], False),  # two of many that were none
        ([0.02, 3.0, 2.0] + [0.0] * 100, True),  # dead since: it moved three times
    ],
)
def test_how_many_updates_count(tmp_path: Path, values: list[float], is_told: bool) -> None:
    write(tmp_path, {"train/approx_kl": values})
    assert told(read_history(tmp_path)) == ([("SD808", "warning")] if is_told else [])


def test_losses_that_were_nan_for_a_while_are_no_finding(tmp_path: Path) -> None:
    write(tmp_path, {"train/loss": [1.0, float("nan"), 1.0]})
    assert told(read_history(tmp_path)) == []


@pytest.mark.parametrize("value", [10.0, 1e-7])
def test_an_entropy_coefficient_that_is_fixed_has_not_grown(tmp_path: Path, value: float) -> None:
    write(tmp_path, {"train/ent_coef": [value] * 5})
    assert told(read_history(tmp_path)) == []


def test_another_model_in_the_same_log_is_no_restart(tmp_path: Path) -> None:
    rates, updates = [0.5, 0.05, 1.0, 0.5], [10, 20, 0, 10]
    write(tmp_path, {"rollout/exploration_rate": rates, "train/n_updates": updates})
    assert told(read_history(tmp_path)) == []


@pytest.mark.parametrize(
    "kind, name, sound, wild",
    [
        ("healthy SAC", "train/actor_loss", 5e3, 1e9),
        ("healthy TD3", "train/actor_loss", 5e3, 1e7),
        ("healthy PPO", "train/value_loss", 1e7, 1e14),
    ],
)
def test_values_that_no_rewards_add_up_to(
    runs: Runs, tmp_path: Path, kind: str, name: str, sound: float, wild: float
) -> None:
    """By hand: returns of 10 to 100 and a gamma of 0.99 allow 1,000 to 10,000; not 10 times that.

    SAC's entropy adds 20 nats of 2 actions, at a coefficient of 1, over the same horizon.
    """
    folder = runs.copy(kind, tmp_path / "run")
    for value, expected in ((sound, []), (wild, [("SD305", "critical")])):
        series = {name: [value] * 5}
        if kind == "healthy SAC":
            series["train/ent_coef"] = [1.0] * 5
        write(folder, series)
        assert told(read_history(folder)) == expected


@pytest.mark.parametrize(
    "settings, explains",
    [
        ({"gamma": 1.05}, True),  # sums that grow without end
        ({"learning_starts": 500, "_total_timesteps": 600}, False),  # the start alone came late
    ],
)
def test_a_setting_explains_values_only_where_it_moves_networks(
    runs: Runs, tmp_path: Path, settings: dict[str, Any], explains: bool
) -> None:
    folder = runs.copy("healthy TD3", tmp_path / "run")
    write(folder, {"train/actor_loss": [1e7] * 5})
    for path in folder.glob("*.zip"):
        members = members_of(path.read_bytes())
        members["data"] = json.dumps({**json.loads(members["data"]), **settings}).encode()
        path.write_bytes(zip_of(members))
    history = read_history(folder)
    said = {f.rule for of in history.runs for s in of.snapshots for f in s.report.findings}
    assert "SD405" in said
    assert ("SD305" in dict(told(history))) is not explains


def test_values_that_come_back_are_no_finding(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("healthy TD3", tmp_path / "run")
    write(folder, {"train/actor_loss": [1e7, 1e7, 1e7, 10.0]})
    assert told(read_history(folder)) == []


def test_a_checkpoint_that_says_it_is_enough(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("nan", tmp_path / "run")
    write(folder, {"train/critic_loss": [1.0, float("nan")]})
    assert told(read_history(folder)) == []
    for path in folder.glob("*.zip"):
        path.unlink()
    assert told(read_history(folder)) == [("SD301", "critical")]


def test_a_finding_in_a_log_has_its_place_in_table_and_document(tmp_path: Path, run: Run) -> None:
    write(tmp_path, {"train/approx_kl": [3.0, 2.0]})
    table = run("history", tmp_path, "--fail-on", "warning")
    assert table.code == 1
    assert "SD808" in table.out and "In progress.csv" in table.out
    assert "no checkpoint, 1 finding" in table.out
    (finding,) = json.loads(run("history", tmp_path, "--format", "json").out)["findings"]
    assert (finding["rule"], finding["path"], finding["series"]) == ("SD808", "progress.csv", None)
    assert "SD808" not in run("history", tmp_path, "--ignore", "SD808").out
