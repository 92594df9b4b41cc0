"""Options that scripts expect of a checker: quiet, a code of 0, standard input, what holds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from stable_baselines3 import PPO

from fixtures.faulty_runs import train_normalised
from tests.conftest import Outcome, Run, child_environment
from tests.kept import Kept

# -- --quiet -----------------------------------------------------------------------------------


def test_quiet_is_silent_where_all_is_well(run: Run, healthy: Path) -> None:
    outcome = run("scan", "--quiet", healthy, healthy.with_name("sac_two_head.zip"))
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_quiet_has_a_line_for_each_bad_file(run: Run, healthy: Path, broken: Path) -> None:
    outcome = run("scan", "--quiet", healthy, broken)
    (line,) = outcome.out.splitlines()
    assert outcome.code == 1
    assert line.startswith(f"critical  {broken}  ")


def test_quiet_leaves_out_what_a_baseline_knows(run: Run, broken: Path) -> None:
    run("scan", "--baseline", "known.json", "--write-baseline", broken)
    assert run("scan", "--quiet", "--baseline", "known.json", broken).out == ""


def test_quiet_and_verbose_exclude_each_other(run: Run, healthy: Path) -> None:
    outcome = run("scan", "--quiet", "--verbose", healthy)
    assert (outcome.code, outcome.out) == (2, "")


# -- --exit-zero -------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["scan", "checkup"])
def test_exit_zero_says_what_is_wrong_and_ends_well(run: Run, broken: Path, verb: str) -> None:
    without, outcome = run(verb, broken), run(verb, "--exit-zero", broken)
    assert (without.code, outcome.code) == (1, 0)
    assert outcome.out == without.out


def test_exit_zero_of_a_difference(run: Run, healthy: Path, broken: Path) -> None:
    assert run("diff", healthy, broken).code == 1
    assert run("diff", "--exit-zero", healthy, broken).code == 0


def test_exit_zero_of_settings_that_must_change(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text("algorithm: SAC\nlearning_rate: 5e-1\n")
    assert run("fix-config", "--check", path).code == 1
    assert run("fix-config", "--check", "--exit-zero", path).code == 0


def test_what_cannot_be_read_is_2_all_the_same(run: Run, tmp_path: Path) -> None:
    assert run("scan", "--exit-zero", tmp_path / "missing.zip").code == 2


# -- standard input ----------------------------------------------------------------------------


def piped(data: bytes, *arguments: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "sacdoctor", "scan", *arguments, "-"],
        input=data,
        capture_output=True,
        check=False,
        env=child_environment(),
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_checkpoint_may_come_through_a_pipe(run: Run, broken: Path) -> None:
    outcome = piped(broken.read_bytes(), "--format", "json")
    (from_pipe,) = json.loads(outcome.out)["checkpoints"]
    (from_file,) = json.loads(run("scan", "--format", "json", broken).out)["checkpoints"]
    assert (outcome.code, outcome.err) == (1, "")
    assert from_pipe == {**from_file, "path": "-"}


@pytest.mark.parametrize("data", [b"", b"no checkpoint"])
def test_what_is_no_checkpoint_is_named_by_the_dash(data: bytes) -> None:
    outcome = piped(data)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint.startswith("sacdoctor: -: ")
    assert "/tmp" not in outcome.err


def test_beside_a_pipe_there_are_no_statistics_to_miss(
    run: Run, kept: Kept, tmp_path: Path
) -> None:
    """SD801 would say that VecNormalize's file is missing beside what has no folder."""
    there = kept("normalised_PPO", lambda folder: train_normalised(folder, PPO))
    path = tmp_path / "a" / "b" / "m.zip"
    path.parent.mkdir(parents=True)
    shutil.copy(there / "model.zip", path)
    beside = json.loads(run("scan", "--format", "json", path).out)["checkpoints"][0]
    assert "SD801" in [one["rule"] for one in beside["findings"]]
    found = json.loads(piped(path.read_bytes(), "--format", "json").out)["checkpoints"][0]
    assert "SD801" not in [one["rule"] for one in found["findings"]]


# -- --show-config -----------------------------------------------------------------------------


def test_show_config_is_a_settings_file_that_says_where_each_is_from(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "sacdoctor.toml").write_text(
        'warning = 12\nexclude = ["a.*"]\n[components]\n"x.*" = "the \\"x\\""\n'
    )
    outcome = run("scan", "--show-config", "--warning", 15, "--select", "SD1,non-finite")
    assert (outcome.code, outcome.err) == (0, "")
    shown = tomllib.loads(outcome.out)
    assert (shown["warning"], shown["critical"], shown["exclude"]) == (15, 30, ["a.*"])
    assert shown["select"] == ["SD1", "non-finite"]
    assert shown["components"] == {"x.*": 'the "x"'}
    lines = {
        line.partition(" = ")[0]: line.partition("  # ")[2] for line in outcome.out.split("\n")
    }
    assert lines["warning"] == "the command line"
    assert lines["critical"] == "default"
    assert lines["exclude"].endswith("sacdoctor.toml")


def test_what_is_shown_may_be_the_settings_file(run: Run, tmp_path: Path) -> None:
    first = run("scan", "--show-config", "--fail-on", "warning", "--ignore", "SD104").out
    (tmp_path / "own.toml").write_text(first)
    again = run("scan", "--show-config", "--config", "own.toml").out
    assert tomllib.loads(again) == tomllib.loads(first)


@pytest.mark.parametrize("verb", ["scan", "fix", "history", "checkup", "watch", "warmup"])
def test_every_verb_with_settings_shows_them_and_does_no_more(
    run: Run, tmp_path: Path, verb: str
) -> None:
    outcome = run(verb, "--show-config", tmp_path / "missing")
    assert (outcome.code, outcome.err) == (0, "")
    heeds_fail_on, heeds_rules = verb != "fix", verb != "warmup"
    assert ("fail-on = " in outcome.out, "select = " in outcome.out) == (heeds_fail_on, heeds_rules)


def test_a_scan_of_nothing_is_wrong_usage(run: Run) -> None:
    outcome = run("scan")
    assert (outcome.code, outcome.out) == (2, "")
    assert "PATH" in outcome.complaint
