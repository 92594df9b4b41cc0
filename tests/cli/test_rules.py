"""`sacdoctor rules`, and the rules that `scan` is told to check: `--select` and `--ignore`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacdoctor.diagnosis.rules.registry import RULES
from tests.conftest import Run
from tests.scan_document import parse

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)


def codes(run: Run, *arguments: object) -> list[str]:
    outcome = run("scan", *arguments, "--format", "json")
    (checkpoint,) = parse(outcome.out)["checkpoints"]
    return [finding["rule"] for finding in checkpoint["findings"]]


# -- rules -------------------------------------------------------------------------------------


def test_rules_lists_every_rule_on_a_line(run: Run) -> None:
    outcome = run("rules")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line.split()[:2] for line in lines] == [[rule.code, rule.name] for rule in RULES]
    for line, rule in zip(lines, RULES, strict=True):
        assert line.endswith(f"  {rule.summary}")
        assert f"  {', '.join(rule.severities)}  " in line


@each_rule
def test_a_code_is_explained_in_its_modules_words(run: Run, rule) -> None:  # type: ignore[no-untyped-def]
    outcome = run("rules", rule.code)
    assert (outcome.code, outcome.err) == (0, "")
    head, severity, explanation = outcome.out.split("\n\n", 2)
    assert head == f"# {rule.code} {rule.name}"
    assert severity.startswith(f"Severity: {', '.join(rule.severities)}. Looks at: ")
    assert explanation == f"{rule.explanation}\n"


def test_a_name_is_understood_as_well_as_its_code(run: Run) -> None:
    assert run("rules", "not-in-optimizer").out == run("rules", "SD202").out
    assert run("rules", "Dead-Bias", "sd7").out == run("rules", "SD101", "SD7").out


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            "SD202",
            "Severity: critical. Looks at: a checkpoint's tensors and settings. "
            "Cured by: `sacdoctor fix --complete-optimizer`.",
        ),
        (
            "SD502",
            "Severity: warning. Looks at: a replay buffer with its checkpoint or a settings file. "
            "Cured by: `sacdoctor fix-config`, `sacdoctor warmup --clean OUT.pkl`.",
        ),
        (
            "SD701",
            "Severity: critical. Looks at: a file that cannot be read. Cured by: no command.",
        ),
    ],
)
def test_severity_subject_and_cure_stand_above_the_explanation(
    run: Run, code: str, line: str
) -> None:
    assert line in run("rules", code).out.splitlines()


def test_json_has_all_that_a_rule_says(run: Run) -> None:
    outcome = run("rules", "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert document["schema_version"] == 1
    assert [[rule["code"], rule["name"]] for rule in document["rules"]] == [
        [rule.code, rule.name] for rule in RULES
    ]
    keys = ["code", "name", "severities", "looks_at", "cured_by", "summary", "explanation"]
    assert all([*rule] == keys for rule in document["rules"])


def test_json_of_some_rules_has_those_alone(run: Run) -> None:
    document = json.loads(run("rules", "sd402", "target-out-of-sync", "--format", "json").out)
    sync, clipping = document["rules"]
    assert (sync["code"], clipping["code"]) == ("SD206", "SD402")
    assert sync["severities"] == ["critical", "warning"]
    assert sync["looks_at"] == ["a checkpoint's tensors and settings"]
    assert clipping["cured_by"] == ["sacdoctor fix --max-grad-norm NORM"]
    assert clipping["explanation"].startswith(clipping["summary"] + "\n\n## What it does\n")


def test_sd202_shows_the_two_lines_of_policy_code(run: Run) -> None:
    out = run("rules", "SD202").out
    assert "self.optimizer = self.optimizer_class(" in out
    assert "self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs" in out
    assert "it will not last" in out


def test_a_prefix_explains_all_that_begin_with_it(run: Run) -> None:
    titles = [line for line in run("rules", "SD20").out.splitlines() if line.startswith("# SD")]
    assert [title.split()[1] for title in titles] == [f"SD20{n}" for n in range(1, 10)]


def test_several_codes_are_explained_in_the_order_of_the_codes(run: Run) -> None:
    titles = [
        line for line in run("rules", "SD504", "SD101").out.splitlines() if line.startswith("# SD")
    ]
    assert [title.split()[1] for title in titles] == ["SD101", "SD504"]


def test_small_letters_are_understood(run: Run) -> None:
    assert run("rules", "sd202").out == run("rules", "SD202").out


@pytest.mark.parametrize("code", ["SD999", "E501", "dead-"])
def test_rule_that_does_not_exist_exits_2(run: Run, code: str) -> None:
    outcome = run("rules", code)
    assert (outcome.code, outcome.out) == (2, "")
    assert code.upper() in outcome.complaint


# -- scan --select, --ignore -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["SD101", "SD202", "SD401"]),
        (("--select", "SD202"), ["SD202"]),
        (("--select", "SD1,SD202"), ["SD101", "SD202"]),
        (("--select", "SD1", "--select", "SD4"), ["SD101", "SD401"]),
        (("--select", "SD1,SD202", "--ignore", "SD101"), ["SD202"]),
        (("--ignore", "SD2, SD4"), ["SD101"]),
        (("--ignore", "sd2"), ["SD101", "SD401"]),
        (("--select", "SD3"), []),
        (("--select", "not-in-optimizer,SD4"), ["SD202", "SD401"]),
        (("--ignore", "Dead-Bias"), ["SD202", "SD401"]),
    ],
    ids=str,
)
def test_scan_reports_what_was_asked_for(
    run: Run, broken: Path, options: tuple[str, ...], expected: list[str]
) -> None:
    assert codes(run, broken, *options) == expected


@pytest.mark.parametrize(
    ("options", "code"),
    [((), 1), (("--select", "SD202"), 1), (("--select", "SD3"), 0), (("--ignore", "SD"), 0)],
    ids=str,
)
def test_exit_code_follows_the_selected_rules(
    run: Run, broken: Path, options: tuple[str, ...], code: int
) -> None:
    assert run("scan", broken, *options).code == code


@pytest.mark.parametrize("option", ["--select", "--ignore"])
@pytest.mark.parametrize("value", ["SD999", "SD1,SDX", "dead-"])
def test_scan_refuses_a_rule_that_does_not_exist(
    run: Run, broken: Path, option: str, value: str
) -> None:
    outcome = run("scan", broken, option, value)
    assert (outcome.code, outcome.out) == (2, "")
    assert "no rule" in outcome.complaint


# -- the settings file -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "options", "expected"),
    [
        ('select = ["SD2"]', (), ["SD202"]),
        ('select = ["SD1", "SD202"]\nignore = ["SD101"]', (), ["SD202"]),
        ('ignore = ["SD4,SD1"]', (), ["SD202"]),
        ('select = ["SD2"]', ("--select", "SD4"), ["SD401"]),
        ('ignore = ["SD2"]', ("--ignore", "SD1"), ["SD202", "SD401"]),
    ],
)
def test_settings_file_stands_in_for_options_that_were_not_given(
    run: Run,
    broken: Path,
    tmp_path: Path,
    table: str,
    options: tuple[str, ...],
    expected: list[str],
) -> None:
    (tmp_path / "sacdoctor.toml").write_text(table)
    assert codes(run, broken, *options) == expected


def test_settings_file_with_a_rule_that_does_not_exist_exits_2(
    run: Run, broken: Path, tmp_path: Path
) -> None:
    (tmp_path / "sacdoctor.toml").write_text('select = ["SD999"]')
    outcome = run("scan", broken)
    assert (outcome.code, outcome.out) == (2, "")
    assert "SD999" in outcome.complaint
