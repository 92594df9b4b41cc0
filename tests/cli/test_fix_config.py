"""`sacdoctor fix-config`: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.conftest import Run

YML = """\
# My run.
algorithm: SAC
model:
  learning_rate: 5e-3   # fast!
  gamma: 0.99
max_grad_norm: 10
"""
CORRECTED = YML.replace("5e-3", "1.0e-4").replace(" 10\n", " 1.0\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "run.yml"
    path.write_text(YML)
    return path


def test_without_a_source_it_prints_what_is_recommended_for_sac(run: Run) -> None:
    outcome = run("fix-config", "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == {
        "algorithm": "SAC",
        "learning_rate": 1e-4,
        "max_grad_norm": 1.0,
        "clip_grad_value": None,
        "no_trading_warmup_steps": 5000,
        "learning_starts": 5000,
    }


def test_another_algorithm_may_be_asked_for(run: Run) -> None:
    outcome = run("fix-config", "--algorithm", "ppo")
    assert outcome.code == 0
    assert outcome.out.startswith("algorithm: PPO\nlearning_rate: 3.0e-4  # safe: 1e-5 to 1e-3\n")


def test_a_file_is_printed_corrected_and_says_what_it_was(run: Run, source: Path) -> None:
    outcome = run("fix-config", source)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        CORRECTED.replace("# fast!", "# fast!  # was 5e-3").replace("1.0\n", "1.0  # was 10\n")
    )
    assert source.read_text() == YML


def test_check_says_what_must_change_and_exits_with_1(run: Run, source: Path) -> None:
    outcome = run("fix-config", source, "--check")
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out == (
        "model.learning_rate  5e-3  -> 1.0e-4  critical  50 times the recommended 1e-4 and 16.7 "
        "times the upper end of the safe range 3e-4\n"
        "max_grad_norm        10    -> 1.0     warning   above 5 is too loose: a gradient that "
        "explodes passes\n"
    )
    assert source.read_text() == YML


@pytest.mark.parametrize("columns", ["40", "60"])
def test_in_a_narrow_terminal_the_reason_stands_below(
    run: Run, source: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run("fix-config", source, "--check").out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert "above 5 is too loose: a gradient that explodes passes" in " ".join(
        line.strip() for line in lines
    )


def test_check_exits_with_0_where_all_is_well(run: Run, source: Path) -> None:
    source.write_text(CORRECTED)
    outcome = run("fix-config", source, "--check")
    assert (outcome.code, outcome.out, outcome.err) == (0, "nothing to change\n", "")


def test_write_changes_the_values_and_nothing_else(run: Run, source: Path) -> None:
    source.chmod(0o640)
    outcome = run("fix-config", source, "--write")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("model.learning_rate  5e-3  -> 1.0e-4")
    assert source.read_text() == CORRECTED
    assert [path.name for path in source.parent.iterdir()] == ["run.yml"]
    if os.name == "posix":
        assert stat.S_IMODE(source.stat().st_mode) == 0o640


def test_a_second_write_touches_nothing(run: Run, source: Path) -> None:
    run("fix-config", source, "--write")
    before = source.stat()
    outcome = run("fix-config", source, "--write")
    assert (outcome.code, outcome.out) == (0, "nothing to change\n")
    assert (source.stat().st_mtime_ns, source.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_write_follows_a_link(run: Run, source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yml"
    link.symlink_to(source)
    run("fix-config", link, "--write")
    assert link.is_symlink()
    assert source.read_text() == CORRECTED


def test_the_result_may_go_to_a_file(run: Run, source: Path, tmp_path: Path) -> None:
    outcome = run("fix-config", source, "--format", "json", "--output", tmp_path / "out.json")
    assert (outcome.code, outcome.out) == (0, "")
    assert json.loads((tmp_path / "out.json").read_text())["model"]["learning_rate"] == 1e-4


@pytest.mark.parametrize("name", ["sac.yml", "my_sac.json", "sac-run.toml"])
def test_a_file_named_after_its_algorithm_needs_no_option(
    run: Run, tmp_path: Path, name: str
) -> None:
    text = {"yml": "lr: 5e-3", "json": '{"lr": 5e-3}', "toml": "lr = 5e-3"}
    (tmp_path / name).write_text(text[name.rpartition(".")[2]])
    assert run("fix-config", tmp_path / name, "--check").code == 1


def test_stdin_is_read_in_any_language(shell: Run) -> None:
    for text in ("learning_rate: 5e-3\n", '{"learning_rate": 5e-3}\n', "learning_rate = 5e-3\n"):
        outcome = shell("fix-config", "-", "--algorithm", "SAC", input=text)
        assert (outcome.code, outcome.err) == (0, "")
        assert "5e-3" in text and "e-4" in outcome.out


def test_a_checkpoint_is_checked_but_not_written(run: Run, broken: Path) -> None:
    before = broken.read_bytes()
    assert run("fix-config", broken, "--check").code in (0, 1)
    outcome = run("fix-config", broken, "--write")
    assert outcome.code == 2
    assert "`sacdoctor fix --learning-rate`" in outcome.complaint
    assert broken.read_bytes() == before


def test_a_script_may_be_asked_for(run: Run) -> None:
    outcome = run("fix-config", "--format", "python")
    assert outcome.code == 0
    compile(outcome.out, "script.py", "exec")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("missing.yml", None, "No such file or directory"),
        ("sac.yml", "a: [1", "it is not YAML"),
        ("sac.json", "{", "it is not JSON"),
        ("sac.toml", "a =", "it is not TOML"),
        ("sac.yml", "- 1", "it holds no settings"),
        ("run.yml", "learning_rate: 1", "--algorithm"),
        ("sac.yml", "\udcff", "neither text"),
        ("sac.zip", "no zip", "neither a zip"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    run: Run, tmp_path: Path, name: str, text: str | None, reason: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, errors="surrogateescape")
    for arguments in ([], ["--check"], ["--write"]):
        outcome = run("fix-config", path, *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.complaint.startswith(f"sacdoctor: {path}: ")
        assert reason in outcome.complaint


def test_a_folder_and_a_pipe_are_refused(run: Run, tmp_path: Path) -> None:
    assert "it is a folder" in run("fix-config", tmp_path).complaint
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "it is not a regular file" in run("fix-config", tmp_path / "pipe").complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ["--check"],
        ["--write"],
        ["run.yml", "--check", "--write"],
        ["-", "--write"],
        ["run.yml", "--write", "--output", "x"],
        ["--algorithm", "SACK"],
        ["run.yml", "--algorithm", "SACK"],
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, source: Path, arguments: list[str]) -> None:
    outcome = run("fix-config", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint
    assert source.read_text() == YML


def test_a_name_in_a_file_does_not_command_the_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sac.json").write_text('{"\\u001b[31m": {"lr": 5e-3}}')
    outcome = run("fix-config", tmp_path / "sac.json", "--check")
    assert "\x1b" not in outcome.out
    assert "\\x1b[31m.lr" in outcome.out


def test_heavy_packages_stay_away(shell: Run, source: Path) -> None:
    for arguments, absent in (
        ([], ("torch", "stable_baselines3", "ruamel.yaml", "tomlkit")),
        ([str(source)], ("torch", "stable_baselines3", "tomlkit")),
    ):
        code = (
            "import runpy, sys\n"
            f"sys.argv = ['sacdoctor', 'fix-config', *{arguments!r}]\n"
            "try: runpy.run_module('sacdoctor', run_name='__main__')\n"
            f"except SystemExit: print([name for name in {absent!r} if name in sys.modules])"
        )
        import subprocess

        from tests.conftest import child_environment

        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=child_environment(),
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "[]"


TUNED = {
    # Sections of rl-zoo's files (DLR-RM/rl-baselines3-zoo, hyperparams/), the outermost of each.
    "sac": "Pendulum-v1:\n  learning_rate: !!float 1e-3\n",
    "dqn": "MountainCar-v0:\n  learning_rate: !!float 4e-3\n",
    "qrdqn": "LunarLander-v3:\n  learning_rate: lin_1.5e-3\n",
    "tqc": "parking-v0:\n  learning_rate: !!float 1.5e-3\n",
    "ppo": "InvertedPendulum-v2:\n  learning_rate: 0.000222425\n  max_grad_norm: 0.3\n",
    "ppo_lstm": "Swimmer-v3:\n  learning_rate: 2.0633e-05\n  max_grad_norm: 5\n",
    "a2c": "HalfCheetahBulletEnv-v0:\n  learning_rate: lin_0.00096\n  max_grad_norm: 0.5\n",
    "ars": "Walker2d-v3:\n  learning_rate: !!float 0.03\n",
    "her": "FetchReach-v1:\n  model_class: 'sac'\n  learning_rate: 0.001\n",
}


@pytest.mark.parametrize("name", TUNED)
def test_what_rl_zoo_tuned_is_left_as_it_is(run: Run, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yml"
    path.write_text(TUNED[name])
    outcome = run("fix-config", "--check", path)
    assert (outcome.code, outcome.err, outcome.out) == (0, "", "nothing to change\n")
