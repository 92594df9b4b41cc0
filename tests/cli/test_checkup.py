"""`sacdoctor checkup`: what it prints, its JSON, and how it exits."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.runs import Runs


def test_a_healthy_run_takes_five_lines(run: Run, runs: Runs) -> None:
    outcome = run("checkup", runs("healthy SAC"))
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) <= 5
    assert lines[1] == "HEALTHY  Nothing was found."


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("healthy SAC", ("--fail-on", "warning"), 0),
        ("crash", (), 0),
        ("crash", ("--fail-on", "warning"), 1),
        ("nan", (), 1),
        ("nan", ("--fail-on", "never"), 0),
        ("nan", ("--ignore", "SD3"), 0),
    ],
)
def test_exit_codes_are_those_of_a_scan(
    run: Run, runs: Runs, kind: str, options: tuple[str, ...], code: int
) -> None:
    assert run("checkup", runs(kind), *options).code == code


def test_json_keeps_the_contract(run: Run, runs: Runs) -> None:
    outcome = run("checkup", runs("late layers"), "--format", "json")
    found = json.loads(outcome.out)
    assert (found["schema_version"], found["path"]) == (1, str(runs("late layers")))
    assert found["status"] == "critical"
    (finding,) = found["findings"]
    assert (finding["rule"], finding["explains"][0]["rule"]) == ("SD202", "SD101")
    assert (finding["after_timesteps"], finding["by_timesteps"]) == (0, 100)
    assert {*found} == {
        *("schema_version", "path", "status", "verdict", "findings", "timeline"),
        *("looked_at", "not_there", "next", "not_read"),
    }


def test_the_next_command_runs_as_it_stands(run: Run, runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("late layers", tmp_path / "my runs")
    for command in json.loads(run("checkup", folder, "--format", "json").out)["next"]:
        outcome = run(*shlex.split(command)[1:])
        assert outcome.code == 0, outcome.err
    assert [path.name for path in folder.glob("*_FIXED.zip")] == ["rl_model_1000_steps_FIXED.zip"]


def test_a_command_is_not_broken_at_the_width_of_the_terminal(
    run: Run, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    out = run("checkup", runs("late layers")).out
    assert any(line.startswith("Next") and line.endswith(".zip") for line in out.splitlines())


def test_what_cannot_be_read_is_one_line_and_the_rest_is_told(
    run: Run, runs: Runs, tmp_path: Path
) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    (folder / "broken.zip").write_bytes(b"PK\3\4" + bytes(100))
    outcome = run("checkup", folder)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "broken.zip" in outcome.err
    assert "HEALTHY" in outcome.out


def test_a_folder_without_anything_is_one_line(run: Run, tmp_path: Path) -> None:
    outcome = run("checkup", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "no checkpoints" in outcome.err
