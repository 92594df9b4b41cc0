"""Settings of a project: `sacdoctor.toml`, or a table in pyproject.toml."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
import torch as th

from tests.archives import write_sb3
from tests.conftest import Run


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A checkpoint with one bias that is a fifth zero: a warning."""
    bias = th.tensor([0.0, 1.0, 1.0, 1.0, 1.0])
    return write_sb3(tmp_path / "m.zip", {"my_head.weight": th.ones(5, 1), "my_head.bias": bias})


def component(run: Run, path: Path, *options: object) -> str:
    document = json.loads(run("scan", path, *options, "--format", "json").out)
    return str(document["checkpoints"][0]["layers"][0]["component"])


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


# -- a file that the command line names --------------------------------------------------------


def test_named_file_comes_in_place_of_the_nearest(run: Run, half: Path) -> None:
    Path("sacdoctor.toml").write_text('[components]\n"my_head.*" = "nearest"\n')
    Path("own.toml").write_text("critical = 19\n")
    assert component(run, half, "--config", "own.toml") == "my head"
    assert run("scan", half, "--config", "own.toml").code == 1


def test_table_of_a_pyproject_that_is_named(run: Run, half: Path) -> None:
    Path("deep").mkdir()
    Path("deep/pyproject.toml").write_text("[tool.sacdoctor]\ncritical = 19\n")
    assert run("scan", half, "--config", "deep/pyproject.toml").code == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.toml", None, "No such file"),
        ("pyproject.toml", "[project]\n", "no table [tool.sacdoctor]"),
        ("own.toml", "critcal = 19\n", "unknown setting 'critcal'"),
    ],
)
def test_named_file_without_settings_is_one_line_and_exit_2(
    run: Run, half: Path, name: str, content: str | None, reason: str
) -> None:
    if content is not None:
        Path(name).write_text(content)
    outcome = run("scan", half, "--config", name)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint.startswith(f"sacdoctor: {name}: ") and reason in outcome.complaint


# -- what they change is said ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ("critical = 19", (), "critical = 19"),
        ("warning = 2.5\ncritical = 19", (), "warning = 2.5, critical = 19"),
        ("fail-on = 'warning'", (), 'fail-on = "warning"'),
        ("exclude = ['my_*']\ninclude = ['*']", (), 'include = ["*"], exclude = ["my_*"]'),
        ("ignore = ['SD104', 'dead-bias']", (), 'ignore = ["SD104", "dead-bias"]'),
        ("ignore = ['SD104']\ncritical = 19", ("--ignore", "SD1"), "critical = 19"),
    ],
)
def test_one_line_says_what_a_file_changes_about_the_verdict(
    run: Run, half: Path, settings: str, options: tuple[str, ...], said: str
) -> None:
    Path("sacdoctor.toml").write_text(settings + "\n")
    outcome = run("scan", half, *options)
    assert outcome.complaint == f"sacdoctor: {Path.cwd() / 'sacdoctor.toml'} sets {said}"
    Path("sacdoctor.toml").rename("own.toml")
    outcome = run("scan", half, *options, "--config", "own.toml")
    assert outcome.complaint == f"sacdoctor: own.toml sets {said}"


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ("warning = 10\ncritical = 30\nfail-on = 'critical'", ()),
        ("[components]\n'my_head.*' = 'exit head'", ()),
        ("critical = 19", ("--critical", "30")),
        ("fail-on = 'never'", ("--fail-on", "critical")),
        ("ignore = ['SD104']\nselect = ['SD1']", ("--select", "SD6", "--ignore", "SD1")),
        ("ignore = ['SD104']", ("--select", "SD6")),
        ("exclude = ['my_*']", ("--exclude", "other")),
        ("", ()),
    ],
)
def test_nothing_is_said_where_a_file_changes_nothing(
    run: Run, half: Path, settings: str, options: tuple[str, ...]
) -> None:
    Path("sacdoctor.toml").write_text(settings + "\n")
    outcome = run("scan", half, *options, "--format", "json")
    assert outcome.err == ""
    assert "configuration" not in json.loads(outcome.out)


def test_json_has_what_a_file_changes_under_a_key_of_its_own(run: Run, half: Path) -> None:
    Path("sacdoctor.toml").write_text("critical = 19\nignore = ['SD104', 'SD6']\n")
    document = json.loads(run("scan", half, "--format", "json").out)
    assert document["configuration"] == {
        "path": str(Path.cwd() / "sacdoctor.toml"),
        "named": False,
        "settings": {"critical": 19.0, "ignore": ["SD104", "SD6"]},
        "held": ["SD601", "SD602"],
    }


@pytest.mark.parametrize("verb", ["fix", "history"])
def test_other_verbs_say_it_too(run: Run, half: Path, verb: str) -> None:
    Path("sacdoctor.toml").write_text("critical = 19\n")
    arguments = (half,) if verb == "fix" else (half.parent,)
    outcome = run(verb, *arguments, "--format", "json")
    assert outcome.complaint == f"sacdoctor: {Path.cwd() / 'sacdoctor.toml'} sets critical = 19"
    assert json.loads(outcome.out)["configuration"]["settings"] == {"critical": 19.0}


def test_what_a_verb_does_not_go_by_is_not_said(run: Run, half: Path) -> None:
    Path("sacdoctor.toml").write_text("fail-on = 'warning'\n")
    assert run("fix", half).err == ""


def test_a_line_about_many_settings_is_cut(run: Run, half: Path) -> None:
    Path("sacdoctor.toml").write_text(f"exclude = {['x' * 50] * 10_000}\n")
    assert len(run("scan", half).complaint) < 500


# -- no file but a named one silences what loading would run -----------------------------------


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A checkpoint whose settings call `os.system` when they are loaded."""
    (tmp_path / "run").mkdir()
    code = base64.b64encode(b"cos\nsystem\n(S'true'\ntR.").decode()
    data = {"lr_schedule": {":type:": "<class 'function'>", ":serialized:": code}}
    tensors = {"my_head.weight": th.ones(5, 1), "my_head.bias": th.ones(5)}
    return write_sb3(tmp_path / "run" / "hostile.zip", tensors, data)


SILENCING = [
    "ignore = ['SD6']",
    "ignore = ['SD60', 'SD1']",
    "ignore = ['sd6']",
    "ignore = ['unsafe-pickle, unknown-code']",
    "ignore = ['SD601']",
    "ignore = ['SD']",
    "select = ['SD1']",
    "select = ['SD602']",
    "select = ['SD6']\nignore = ['SD601']",
    "fail-on = 'never'",
    "fail-on = 'never'\nignore = ['SD6']",
]


@pytest.mark.parametrize("options", [(), ("--select", "SD6"), ("--select", "SD601")])
@pytest.mark.parametrize("settings", SILENCING)
@pytest.mark.parametrize("name", ["sacdoctor.toml", "pyproject.toml"])
def test_a_file_that_lies_there_silences_nothing(
    run: Run, hostile: Path, name: str, settings: str, options: tuple[str, ...]
) -> None:
    header = "" if name == "sacdoctor.toml" else "[tool.sacdoctor]\n"
    Path(name).write_text(f"{header}{settings}\n")
    outcome = run("scan", hostile, *options)
    assert outcome.code == 1
    assert "SD601" in outcome.out


@pytest.mark.parametrize("settings", SILENCING)
def test_that_it_was_not_heeded_is_said(run: Run, hostile: Path, settings: str) -> None:
    Path("sacdoctor.toml").write_text(settings + "\n")
    complaint = run("scan", hostile).complaint
    assert "SD601" in complaint
    assert "count all the same" in complaint


@pytest.mark.parametrize(
    "settings", ["ignore = ['SD6']", "select = ['SD1']", "fail-on = 'never'", "ignore = ['SD601']"]
)
def test_a_file_that_is_named_silences_what_it_says(run: Run, hostile: Path, settings: str) -> None:
    Path("own.toml").write_text(settings + "\n")
    outcome = run("scan", hostile, "--config", "own.toml")
    assert outcome.code == 0
    assert "count all the same" not in outcome.complaint


@pytest.mark.parametrize("options", [("--ignore", "SD6"), ("--fail-on", "never")])
def test_so_does_the_command_line(run: Run, hostile: Path, options: tuple[str, ...]) -> None:
    Path("sacdoctor.toml").write_text("ignore = ['SD6']\nfail-on = 'never'\n")
    assert run("scan", hostile, *options).code == 0


def test_history_and_watch_are_not_silenced_either(run: Run, hostile: Path) -> None:
    Path("sacdoctor.toml").write_text("ignore = ['SD6']\nfail-on = 'never'\n")
    assert run("history", hostile.parent).code == 1
    assert run("watch", hostile.parent, "--interval", "0.05").code == 1


def test_a_healthy_file_passes_where_everything_is_silenced(run: Run, half: Path) -> None:
    Path("sacdoctor.toml").write_text("ignore = ['SD']\ncritical = 19\nfail-on = 'never'\n")
    assert run("scan", half).code == 0


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
