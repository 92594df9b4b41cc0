"""Settings of a project: `sacdoctor.toml`, or a table in pyproject.toml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch as th

from tests.archives import write_sb3
from tests.conftest import Run
from tests.scan_document import parse


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A checkpoint with one bias that is a fifth zero: a warning."""
    bias = th.tensor([0.0, 1.0, 1.0, 1.0, 1.0])
    return write_sb3(tmp_path / "m.zip", {"my_head.weight": th.ones(5, 1), "my_head.bias": bias})


def layers(run: Run, *arguments: object) -> list[dict]:
    return parse(run("scan", *arguments, "--format", "json").out)["checkpoints"][0]["layers"]


def component(run: Run, path: Path) -> str:
    return str(layers(run, path)[0]["component"])


# -- where they are found ----------------------------------------------------------------------


def test_without_a_file_the_defaults_hold(run: Run, half: Path) -> None:
    assert component(run, half) == "my head"
    assert run("scan", half).code == 0


@pytest.mark.parametrize(
    ("name", "header"),
    [("sacdoctor.toml", "[components]"), ("pyproject.toml", "[tool.sacdoctor.components]")],
)
def test_components_from_a_file(run: Run, half: Path, name: str, header: str) -> None:
    Path(name).write_text(f'{header}\n"my_head.*" = "exit head"\n')
    assert component(run, half) == "exit head"


def test_file_of_a_folder_above_is_found(
    run: Run, half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("sacdoctor.toml").write_text('[components]\n"my_head.*" = "above"\n')
    deep = Path("a/b/c")
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert component(run, half) == "above"


def test_nearest_file_is_taken(run: Run, half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sacdoctor.toml").write_text('[components]\n"my_head.*" = "above"\n')
    Path("near").mkdir()
    Path("near/pyproject.toml").write_text('[tool.sacdoctor.components]\n"my_*" = "near"\n')
    monkeypatch.chdir("near")
    assert component(run, half) == "near"


def test_own_file_comes_before_pyproject(run: Run, half: Path) -> None:
    Path("sacdoctor.toml").write_text('[components]\n"my_head.*" = "own"\n')
    Path("pyproject.toml").write_text('[tool.sacdoctor.components]\n"my_*" = "shared"\n')
    assert component(run, half) == "own"


def test_pyproject_without_the_table_is_passed_over(
    run: Run, half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("sacdoctor.toml").write_text('[components]\n"my_head.*" = "above"\n')
    Path("near").mkdir()
    Path("near/pyproject.toml").write_text('[project]\nname = "tool.sacdoctor is not here"\n')
    monkeypatch.chdir("near")
    assert component(run, half) == "above"


def test_pyproject_of_others_need_not_be_toml(run: Run, half: Path) -> None:
    Path("pyproject.toml").write_text("this is not toml")
    assert run("scan", half).code == 0


# -- what they set -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("critical = 19", 1),
        ("critical = 20", 0),
        ("warning = 20\nfail-on = 'warning'", 0),
        ("fail-on = 'warning'", 1),
        ("critical = 19.5\nfail-on = 'never'", 0),
        ("critical = 19\nexclude = ['my_*']", 0),
        ("critical = 19\ninclude = ['other.*']", 0),
    ],
)
def test_settings_stand_in_for_options(run: Run, half: Path, setting: str, code: int) -> None:
    Path("sacdoctor.toml").write_text(setting + "\n")
    assert run("scan", half).code == code


@pytest.mark.parametrize(
    ("setting", "options", "code"),
    [
        ("critical = 19", ("--critical", "30"), 0),
        ("critical = 30", ("--critical", "19"), 1),
        ("fail-on = 'never'", ("--critical", "19", "--fail-on", "critical"), 1),
        ("fail-on = 'warning'", ("--fail-on", "critical"), 0),
        ("fail-on = 'warning'\nexclude = ['my_*']", ("--exclude", "other"), 1),
    ],
)
def test_options_come_before_settings(
    run: Run, half: Path, setting: str, options: tuple[str, ...], code: int
) -> None:
    Path("sacdoctor.toml").write_text(setting + "\n")
    assert run("scan", half, *options).code == code


# -- what is wrong with them -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sacdoctor.toml", "pyproject.toml"])
@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("critcal = 30", "critcal"),
        ("warning = 'ten'", "'warning': it must be a number"),
        ("warning = true", "'warning': it must be a number"),
        ("warning = 40", "above the critical"),
        ("critical = 101", "critical"),
        ("warning = nan", "warning"),
        ("fail-on = 'sometimes'", "'fail-on': it must be one of"),
        ("fail-on = ['never']", "'fail-on': it must be one of"),
        ("include = 'a'", "'include': it must be a list"),
        ("exclude = [1]", "'exclude': it must be a list"),
        ("components = 'a'", "'components': it must be a table"),
        ("components = {'a*' = 1}", "'components': it must be a table"),
    ],
)
def test_wrong_setting_is_one_line_and_exit_2(
    run: Run, half: Path, name: str, setting: str, reason: str
) -> None:
    header = "" if name == "sacdoctor.toml" else "[tool.sacdoctor]\n"
    Path(name).write_text(f"{header}{setting}\n")
    outcome = run("scan", half)
    assert (outcome.code, outcome.out) == (2, "")
    assert reason in outcome.complaint


@pytest.mark.parametrize("content", [b"warning = ", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_file_that_is_no_toml_is_one_line_and_exit_2(run: Run, half: Path, content: bytes) -> None:
    Path("sacdoctor.toml").write_bytes(content)
    outcome = run("scan", half)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{Path.cwd() / 'sacdoctor.toml'}: it is not TOML" in outcome.complaint


@pytest.mark.parametrize("table", ["tool = 3\n# tool.sacdoctor\n", "[tool]\nsacdoctor = 3\n"])
def test_odd_pyproject_is_no_traceback(run: Run, half: Path, table: str) -> None:
    Path("pyproject.toml").write_text(table)
    assert run("scan", half).code in (0, 2)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_folders_above_that_may_not_be_read_are_passed_over(
    run: Run, tmp_path: Path, half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    inner = closed / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert run("scan", half).code == 0
    closed.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)
    try:
        outcome = run("scan", tmp_path / "missing.zip")
    finally:
        if root:
            os.seteuid(0)
        closed.chmod(0o700)
    assert outcome.code == 2
    assert "missing.zip" in outcome.complaint
