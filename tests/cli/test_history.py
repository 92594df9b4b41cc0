"""`sacdoctor history`: what it prints, its JSON, and how it exits."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.archives import members_of, zip_of
from tests.conftest import Run
from tests.payloads import Calls, serialized, with_settings
from tests.runs import CRASH, DEAD, Runs

CHECKPOINT = {
    *("path", "series", "num_timesteps", "n_updates", "status", "error", "is_repaired_copy"),
    *(
        "zero_percent",
        "all_zero_bias_tensors",
        "dead_biases",
        "weight_norm",
        "update_norm",
        "components",
    ),
    *("steps_before", "updates_since", "update_norm_per_update", "non_finite", "copy_of", "still"),
    *("optimizer_learning_rates", "entropy_coefficient", "gradient_norms", "biases", "findings"),
}


def document(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def test_json_keeps_the_contract(run: Run, runs: Runs) -> None:
    outcome = run("history", runs("crash"), "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    found = document(outcome.out)
    assert (found["schema_version"], found["run"]) == (1, str(runs("crash")))
    assert [of["num_timesteps"] for of in found["checkpoints"]] == list(range(100, 1001, 100))
    assert all(set(of) == CHECKPOINT for of in found["checkpoints"])
    (onset,) = found["onsets"]
    assert (onset["rule"], onset["tensors"]) == ("SD404", [])
    assert (onset["after_timesteps"], onset["by_timesteps"]) == (500, 600)
    (crash,) = found["crashes"]
    assert (crash["episode"], crash["timesteps"]) == (CRASH, 10 * (CRASH + 1))
    assert crash["before"] > -20 > crash["after"]


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("healthy SAC", ("--fail-on", "warning"), 0),
        ("healthy PPO", ("--fail-on", "warning"), 0),
        ("dead bias", (), 1),
        ("dead bias", ("--fail-on", "never"), 0),
        ("dead bias", ("--select", "SD3"), 0),
        ("crash", (), 0),
        ("crash", ("--fail-on", "warning"), 1),
    ],
)
def test_exit_codes(run: Run, runs: Runs, kind: str, options: tuple[str, ...], code: int) -> None:
    outcome = run("history", runs(kind), *options)
    assert (outcome.code, outcome.err) == (code, "")


def test_table_names_the_interval_and_the_tensor(run: Run, runs: Runs) -> None:
    out = run("history", runs("dead bias")).out
    assert "came up between 400 and 500 steps" in out
    assert DEAD in out
    assert "reset-after-training" in out


def test_table_tells_the_crash(run: Run, runs: Runs) -> None:
    out = run("history", runs("crash")).out
    assert f"in episode {CRASH} (step {10 * (CRASH + 1)})" in out
    assert "learning rate went from 0.0003 to 0.005" in out


def test_table_tells_a_crash_of_which_no_episode_is_known(run: Run, tmp_path: Path) -> None:
    """SB3's TensorBoard log has the mean of 100 episodes."""
    from tests.history.test_read import write_means

    write_means(tmp_path, "tensorboard", 600, 300)
    outcome = run("history", tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert "reward crash  about step 3,0" in outcome.out
    assert (
        document(run("history", tmp_path, "--format", "json").out)["crashes"][0]["episode"] is None
    )


def test_logs_alone_are_not_called_healthy(run: Run, runs: Runs, tmp_path: Path) -> None:
    shutil.copy(runs("healthy SAC") / "monitor.csv", tmp_path)
    outcome = run("history", tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert "UNKNOWN  No checkpoint; no reward crash in 1 log." in outcome.out
    assert "HEALTHY" not in outcome.out
    (tmp_path / "monitor.csv").write_text("r,l,t\n1.0,10,0.1\n")
    out = run("history", tmp_path).out
    assert "UNKNOWN  No checkpoint, and no log with enough rewards." in out
    assert "1 episode is too few to judge the reward" in out


def test_table_says_what_stands_still_what_is_a_copy_and_what_is_nan(
    run: Run, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    header, *rows = run("history", runs("frozen actor")).out.splitlines()[4:15]
    assert "  still" in header
    assert ["actor" in row for row in rows] == [False] * 5 + [True] * 5
    assert run("history", runs("nan")).out.splitlines()[14].split()[5:7] == ["nan", "nan"]
    folder = runs.copy("healthy SAC", tmp_path / "run")
    shutil.copy(folder / "rl_model_1000_steps.zip", folder / "final.zip")
    out = run("history", folder).out
    assert "rl_model_1000_steps.zip is a copy of final.zip." in out


@pytest.mark.parametrize("width", [60, 80, 200])
def test_columns_say_what_they_show_and_fit(
    run: Run, runs: Runs, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    header = run("history", runs("healthy SAC")).out.splitlines()[4].rstrip()
    names = ["steps", "updates", "status", "zero %", "dead", "weight norm", "update norm", "lr"]
    names += ["ent coef", "grad norm", "file"]
    dropped = {
        60: {"updates", "weight norm", "grad norm", "file"},
        80: {"updates", "grad norm", "file"},
    }
    assert re.split(r" {2,}", header.strip()) == [
        n for n in names if n not in dropped.get(width, ())
    ]


@pytest.mark.parametrize("width", [80, 200])
def test_lines_fit_the_terminal(
    run: Run, runs: Runs, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(runs("crash").parent)
    out = run("history", "crash").out
    assert max(map(len, out.splitlines())) <= width


def test_pipe_without_unicode_gets_ascii_curves(shell: Run, runs: Runs) -> None:
    from tests.conftest import child_environment

    environment = child_environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    outcome = shell("history", runs("dead bias"), env=environment)
    assert outcome.out.isascii()
    curve = next(line for line in outcome.out.splitlines() if line.startswith("zero %"))
    assert "____######" in curve


def test_dangerous_code_is_named_once_a_file(run: Run, runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    hostile = {"foo": serialized(Calls(os.system, "true"))}
    for steps in (500, 600):
        path = folder / f"rl_model_{steps}_steps.zip"
        path.write_bytes(zip_of(with_settings(members_of(path.read_bytes()), **hostile)))
    outcome = run("history", folder)
    assert outcome.code == 1
    assert "CRITICAL  10 checkpoints, 2 findings." in outcome.out
    assert outcome.out.count("SD601 unsafe-pickle  critical") == 1
    assert "In rl_model_500_steps.zip, rl_model_600_steps.zip" in outcome.out
    findings = document(run("history", folder, "--format", "json").out)["findings"]
    assert [(finding["rule"], Path(finding["path"]).name) for finding in findings] == [
        ("SD601", "rl_model_500_steps.zip"),
        ("SD601", "rl_model_600_steps.zip"),
    ]


def test_checkpoint_whose_optimizer_is_unreadable_is_no_run_of_its_own(
    run: Run, tmp_path: Path, healthy_bytes: bytes
) -> None:
    """Its settings tell which run it belongs to; that none of that run can be read shows later."""
    members = members_of(healthy_bytes) | {"policy.optimizer.pth": b"PK"}
    (tmp_path / "model.zip").write_bytes(zip_of(members))
    outcome = run("history", tmp_path)
    assert outcome.code == 2
    assert "policy.optimizer.pth" in outcome.complaint
    assert "ERROR  no checkpoint, 1 that cannot be read" in outcome.out


def test_unreadable_checkpoint_is_complained_of_and_exits_2(
    run: Run, runs: Runs, tmp_path: Path
) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    half = folder / "rl_model_500_steps.zip"
    half.write_bytes(half.read_bytes()[:3_000])
    outcome = run("history", folder)
    assert outcome.code == 2
    assert outcome.complaint.startswith(f"sacdoctor: {half}: ")
    assert "9 checkpoints, 1 that cannot be read" in outcome.out
    errors = [
        of
        for of in document(run("history", folder, "--format", "json").out)["checkpoints"]
        if of["status"] == "error"
    ]
    assert [of["path"] for of in errors] == [str(half)]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_nothing_there_exits_2_with_one_line(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    outcome = run("history", tmp_path / name)
    assert (outcome.code, outcome.out) == (2, "")
    assert str(tmp_path / name) in outcome.complaint


def test_result_goes_to_a_file(run: Run, runs: Runs, tmp_path: Path) -> None:
    target = tmp_path / "history.json"
    outcome = run("history", runs("healthy PPO"), "--format", "json", "--output", target)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert document(target.read_text())["onsets"] == []
