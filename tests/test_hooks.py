"""The hooks for pre-commit and the action for GitHub: run as those run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, child_environment

Done = CompletedProcess[str]
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine on which `sacdoctor` is the one under test."""
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / "sacdoctor"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sacdoctor "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(commands), os.environ["PATH"]])
    names = ("AUTHOR", "COMMITTER")
    who = {f"GIT_{name}_{what}": "me@x" for name in names for what in ("NAME", "EMAIL")}
    return child_environment(PATH=path, HOME=str(tmp_path), **who)


# -- pre-commit --------------------------------------------------------------------------------


@pytest.fixture
def commit(tmp_path: Path, environment: dict[str, str]) -> Callable[[], Done]:
    """Runs both hooks over all files of a repository, as a commit would.

    The hooks come from a repository of their own; all but what installs the package is as there.
    """

    def git(folder: Path, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    hooks, work = tmp_path / "hooks", tmp_path / "work"
    for folder in (hooks, work):
        folder.mkdir(exist_ok=True)
        git(folder, "init", "-q")
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    git(hooks, "add", "-A")
    git(hooks, "commit", "-qm", "hooks")
    (work / ".pre-commit-config.yaml").write_text(
        f"""
repos:
  - repo: {hooks}
    rev: {git(hooks, "rev-parse", "HEAD")}
    hooks:
      - id: sacdoctor-scan
        language: system
      - id: sacdoctor-fix-config
        language: system
"""
    )

    def run() -> Done:
        git(work, "add", "-A")
        return subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", "--all-files"],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_hooks_are_as_pre_commit_wants_them() -> None:
    manifest = ROOT / ".pre-commit-hooks.yaml"
    command = [sys.executable, "-m", "pre_commit", "validate-manifest", str(manifest)]
    subprocess.run(command, check=True)
    assert [hook["id"] for hook in yaml(manifest)] == ["sacdoctor-scan", "sacdoctor-fix-config"]


@pytest.mark.slow
@needs_git
def test_a_commit_of_sound_files_passes(
    commit: Callable[[], Done], tmp_path: Path, healthy: Path
) -> None:
    work = tmp_path / "work"
    shutil.copy(healthy, work / "model.zip")
    (work / "config").mkdir()
    (work / "config" / "sac.yml").write_text("algorithm: SAC\nlearning_rate: 3e-4\n")
    (work / "tsconfig.json").write_text("{/* no JSON */}")
    (work / "docker-compose.yml").write_text("services: {}\n")
    done = commit()
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Passed") == 2


@pytest.mark.slow
@needs_git
def test_a_commit_of_a_broken_checkpoint_and_bad_settings_fails(
    commit: Callable[[], Done], tmp_path: Path, broken: Path, healthy: Path
) -> None:
    work = tmp_path / "work"
    shutil.copy(broken, work / "model.zip")
    shutil.copy(healthy, work / "other.zip")
    for name in ("config.yml", "config_2.yml"):
        (work / name).write_text("algorithm: SAC\nlearning_rate: 5e-1\n")
    done = commit()
    assert done.returncode == 1
    assert done.stdout.count("Failed") == 2
    assert "SD202 not-in-optimizer  critical" in done.stdout
    assert "config.yml\nlearning_rate" in done.stdout
    assert "config_2.yml\nlearning_rate" in done.stdout


# -- the action --------------------------------------------------------------------------------


class Step:
    """A step of action.yml, run by bash with the inputs in its place, as a runner would."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.action = yaml(ROOT / "action.yml")
        self.output, self.summary = folder / "output", folder / "summary.md"
        self.environment = environment

    def run(self, name: str, **inputs: str) -> Done:
        (step,) = (s for s in self.action["runs"]["steps"] if s["name"].startswith(name))
        given = {key: spec.get("default", "") for key, spec in self.action["inputs"].items()}
        given |= {key.replace("_", "-"): value for key, value in inputs.items()}
        variables = {
            key: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: given[found[1]], value)
            for key, value in step.get("env", {}).items()
        }
        for file in (self.output, self.summary):
            file.write_text("")
        places = {"GITHUB_OUTPUT": str(self.output), "GITHUB_STEP_SUMMARY": str(self.summary)}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            env={**self.environment, **variables, **places, "GITHUB_ACTION_PATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def step(tmp_path: Path, environment: dict[str, str]) -> Step:
    return Step(tmp_path, environment)


def test_the_action_is_as_github_wants_it(step: Step) -> None:
    import check_jsonschema

    vendor = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    schema = json.loads((vendor / "github-actions.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(step.action)


def test_every_input_reaches_the_script_as_a_variable_and_never_as_its_text(step: Step) -> None:
    steps = step.action["runs"]["steps"]
    assert not any("${{" in one["run"] for one in steps)
    used = re.findall(r"inputs\.([\w-]+)", json.dumps(steps))
    assert sorted(used) == sorted(step.action["inputs"])


def test_it_installs_nothing_where_sacdoctor_is(step: Step) -> None:
    done = step.run("Install")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_healthy_checkpoint_passes_and_is_summed_up(step: Step, healthy: Path) -> None:
    done = step.run("Scan", paths=f"{healthy}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "sacdoctor: 1 file: 1 healthy\n"
    assert step.output.read_text() == "exit-code=0\n"
    assert step.summary.read_text().startswith("### sacdoctor: 1 healthy\n")


@pytest.mark.slow
def test_a_broken_checkpoint_fails_with_annotations_a_summary_and_sarif(
    step: Step, healthy: Path, broken: Path, tmp_path: Path
) -> None:
    done = step.run("Scan", paths=f"{healthy}\n{broken}", sarif="out.sarif")
    assert done.returncode == 1
    assert done.stdout.startswith("::error file=")
    assert step.output.read_text() == "exit-code=1\n"
    assert "SD202 not-in-optimizer" in step.summary.read_text()
    assert len(json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"]) == 3


@pytest.mark.slow
def test_a_baseline_and_fail_on_are_heeded(step: Step, broken: Path, run: Any) -> None:
    run("scan", "--baseline", "known.json", "--write-baseline", broken)
    assert step.run("Scan", paths=str(broken), baseline="known.json").returncode == 0
    assert step.run("Scan", paths=str(broken), fail_on="never").returncode == 0
    assert step.run("Scan", paths="missing.zip").returncode == 2


@pytest.mark.slow
def test_no_input_is_a_command(step: Step, healthy: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a "b" $(touch owned) `touch owned`; touch owned.zip'
    shutil.copy(healthy, odd)
    shutil.copy(healthy, tmp_path / "--all.zip")
    done = step.run("Scan", paths=f"{odd}\n--all.zip")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "owned").exists()
