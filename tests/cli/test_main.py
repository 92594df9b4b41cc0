"""The edge of the command: what goes wrong in any verb is one line on stderr and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sacdoctor.cli.main import VERBS
from tests.conftest import Run, child_environment

FIRST = {
    **dict.fromkeys(("scan", "fix", "diff", "history", "warmup", "probe", "summary"), "table"),
    "watch": "text",
    "fix-config": "yaml",
}
"""The choice of `--format` that is named first."""
WITHOUT_PATH = ("rules", "schema")
"""Verbs that look at no file."""


def arguments(verb: str, path: Path) -> list[str]:
    return [verb, *[str(path)] * (2 if verb == "diff" else 1)]


@pytest.mark.parametrize("verb", FIRST)
def test_a_format_that_a_verb_does_not_have_is_wrong_usage(
    run: Run, broken: Path, verb: str
) -> None:
    outcome = run(*arguments(verb, broken), "--format", "xml")
    assert (outcome.code, outcome.out) == (2, "")
    wrong, _, advice = outcome.complaint.partition("; see ")
    value, _, choices = wrong.partition(" is not one of ")
    assert value == "sacdoctor: Invalid value for '--format': 'xml'"
    assert choices.startswith(f"'{FIRST[verb]}', ")
    assert "'json'" in choices
    assert advice.endswith(f"sacdoctor {verb} --help")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in WITHOUT_PATH])
def test_what_is_not_there_is_one_line_from_every_verb(run: Run, tmp_path: Path, verb: str) -> None:
    outcome = run(*arguments(verb, tmp_path / "missing"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint.startswith(f"sacdoctor: {tmp_path / 'missing'}: ")


@pytest.mark.parametrize("verb", ["scan", "fix", "history", "watch", "warmup"])
def test_a_settings_file_that_is_none_is_one_line_from_every_verb_that_reads_it(
    run: Run, broken: Path, verb: str
) -> None:
    Path("sacdoctor.toml").write_text("warning = ")
    outcome = run(verb, broken.parent if verb in ("history", "watch") else broken)
    assert (outcome.code, outcome.out) == (2, "")
    assert "sacdoctor.toml: it is not TOML" in outcome.complaint


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "watch"])
def test_a_full_disk_behind_stdout_is_one_line_from_every_verb(
    run: Run, broken: Path, verb: str, tmp_path: Path
) -> None:
    paths = [] if verb in WITHOUT_PATH else arguments(verb, broken)[1:]
    if verb == "history":
        paths = [str(broken.parent)]
    if verb == "fix":
        paths.append("--dry-run")
    if verb == "summary":
        paths = [str(tmp_path / "results.jsonl")]
        run("scan", "--format", "jsonl", "--output", *paths, broken)
    if verb == "probe":
        paths += ["--trust", "fixtures.policies"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "sacdoctor", verb, *paths],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(),
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "sacdoctor: standard output: it cannot be written: No space left on device\n"
    )


def test_no_arguments_show_the_help_and_exit_2(run: Run) -> None:
    outcome = run()
    assert outcome.code == 2
    assert "sacdoctor [OPTIONS] COMMAND" in outcome.out
    assert all(verb in outcome.out for verb in VERBS)
