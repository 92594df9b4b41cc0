"""A file in `rules/` is all that a rule takes, and nothing else knows a rule by its code."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from sacdoctor.diagnosis.rules.interface import Check, Rule, Symptom
from sacdoctor.diagnosis.rules.registry import RULES, findings, ordered, rule_of
from sacdoctor.model import Cause, Finding
from sacdoctor.severity import Severity
from tests.conftest import ROOT

PACKAGE = ROOT / "sacdoctor"

TOY = '''"""Checkpoints that hold at least one tensor.

## What it does
Counts the tensors.

## Why is this bad
It is not.

## Example
Every checkpoint.

## Use instead
Nothing.

## Fix safety
No fix.

## References
- none
"""

from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.severity import Severity


def check(examination):
    yield RULE.finding(
        Severity.WORST,
        f"it holds {len(examination.layers)} tensors",
        evidence="counted",
        remedy="Be glad.",
        tensors=(examination.layers[0].name,),
    )


RULE = Rule(
    code="SD999",
    name="toy-rule",
    doc=__doc__,
    severities=(Severity.WORST,),
    checks=(Check(Examination, check),),
    cured_by=("play",),
)
'''

Toy = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Runs a copy of the package with one more file in it: a rule of this severity."""

    @cache
    def copy(severity: Severity) -> Path:
        folder = tmp_path_factory.mktemp("toy")
        shutil.copytree(PACKAGE, folder / "sacdoctor", ignore=shutil.ignore_patterns("__pycache__"))
        file = folder / "sacdoctor" / "diagnosis" / "rules" / "toy.py"
        file.write_text(TOY.replace("WORST", severity.name))
        return folder

    def call(severity: Severity, *arguments: object) -> subprocess.CompletedProcess[str]:
        folder = copy(severity)
        return subprocess.run(
            [sys.executable, "-m", "sacdoctor", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


# -- a rule from outside, in one file ----------------------------------------------------------


def test_rules_knows_a_new_file_by_code_prefix_and_name(toy: Toy) -> None:
    listing = toy(Severity.WARNING, "rules").stdout.splitlines()
    assert listing[-1].split(maxsplit=3) == [
        "SD999",
        "toy-rule",
        "warning",
        "Checkpoints that hold at least one tensor.",
    ]
    assert len(listing) == len(RULES) + 1
    explained = toy(Severity.WARNING, "rules", "toy-rule")
    assert explained.returncode == 0
    assert explained.stdout.startswith("# SD999 toy-rule\n")
    assert "Cured by: `sacdoctor play`." in explained.stdout
    for asked in ("SD999", "sd99", "TOY-RULE"):
        assert toy(Severity.WARNING, "rules", asked).stdout == explained.stdout


def test_rules_as_json_has_a_new_file(toy: Toy) -> None:
    document = json.loads(toy(Severity.NOTICE, "rules", "--format", "json").stdout)
    assert document["schema_version"] == 1
    last = document["rules"][-1]
    assert last.pop("explanation").startswith("Checkpoints that hold at least one tensor.\n\n## ")
    assert last == {
        "code": "SD999",
        "name": "toy-rule",
        "severities": ["notice"],
        "looks_at": ["a checkpoint's tensors and settings"],
        "cured_by": ["sacdoctor play"],
        "summary": "Checkpoints that hold at least one tensor.",
    }


@pytest.mark.parametrize(
    ("severity", "options", "code"),
    [
        (Severity.CRITICAL, (), 1),
        (Severity.WARNING, ("--fail-on", "warning"), 1),
        (Severity.NOTICE, ("--fail-on", "warning"), 0),
        (Severity.CRITICAL, ("--select", "toy-rule"), 1),
        (Severity.CRITICAL, ("--ignore", "toy-rule"), 0),
    ],
    ids=str,
)
def test_scan_finds_what_a_new_file_finds_and_exits_by_its_severity(
    toy: Toy, healthy: Path, severity: Severity, options: tuple[str, ...], code: int
) -> None:
    asked = toy(severity, "scan", healthy, "--format", "json", *options)
    assert (asked.returncode, asked.stderr) == (code, "")
    (checkpoint,) = json.loads(asked.stdout)["checkpoints"]
    found = [f for f in checkpoint["findings"] if f["rule"] == "SD999"]
    shown = toy(severity, "scan", healthy, *options)
    assert (shown.returncode, shown.stderr) == (code, "")
    if "--ignore" in options:
        assert not found
        assert "SD999" not in shown.stdout
        return
    (finding,) = found
    assert (finding["name"], finding["severity"]) == ("toy-rule", severity)
    assert checkpoint["status"] == severity
    assert f"SD999 toy-rule  {severity}" in shown.stdout
    assert (
        f"{severity.upper()}  {found[0]['message'][0].upper()}{found[0]['message'][1:]}."
        in shown.stdout
    )


# -- the registry ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weather:
    """A kind of subject that the engine has never heard of."""

    @classmethod
    def in_words(cls) -> str:
        return "the sky"

    rain: bool


def umbrella(weather: Weather) -> Iterator[Finding]:
    if weather.rain:
        yield UMBRELLA.finding(Severity.NOTICE, "it rains", evidence="drops", remedy="Wait.")


UMBRELLA = Rule("SD998", "umbrella", "Rain.", (Severity.NOTICE,), (Check(Weather, umbrella),))


def test_a_rule_is_handed_every_subject_of_its_kind_and_no_other() -> None:
    met = findings([Weather(True), Weather(False), Weather(True)], [*RULES, UMBRELLA])
    expected = Finding("SD998", "umbrella", Severity.NOTICE, (), "it rains", "drops", "Wait.")
    assert met == (expected, expected)
    assert findings([Weather(True)], RULES) == ()


def test_subjects_are_asked_for_one_after_the_other() -> None:
    """What a later one raises comes after what an earlier one finds."""
    judged: list[bool] = []

    def note(weather: Weather) -> Iterator[Finding]:
        judged.append(weather.rain)
        yield from ()

    def subjects() -> Iterator[Weather]:
        yield Weather(True)
        assert judged == [True]
        yield Weather(False)

    findings(subjects(), [Rule("SD997", "note", "", (), (Check(Weather, note),))])
    assert judged == [True, False]


@pytest.mark.parametrize(
    ("code", "name", "named"), [("SD101", "new-name", "SD101"), ("SD999", "dead-bias", "dead-bias")]
)
def test_two_rules_of_one_code_or_name_are_refused(code: str, name: str, named: str) -> None:
    other = Rule(code, name, "", (), ())
    with pytest.raises(ValueError, match=named):
        ordered([*RULES, other])


def test_rules_are_in_the_order_of_their_codes_however_they_are_found() -> None:
    assert ordered(reversed(RULES)) == RULES


def test_a_finding_leads_to_its_rule() -> None:
    for rule in RULES:
        found = rule.finding(rule.severities[0], "m", evidence="e", remedy="r")
        assert rule_of(found) is rule
        assert (found.rule, found.name) == (rule.code, rule.name)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_severities_are_named_the_worst_first(rule: Rule) -> None:
    ranks = [severity.rank for severity in rule.severities]
    assert ranks
    assert ranks == sorted(set(ranks), reverse=True)
    assert Severity.OK not in rule.severities


# -- causes and symptoms -----------------------------------------------------------------------


def sky(
    name: str,
    *severities: Severity,
    tensors: tuple[str, ...] = (),
    explains: tuple[Symptom, ...] = (),
) -> Rule:
    """A rule that finds something in any weather, at the first of its severities."""

    def look(_: Weather) -> Iterator[Finding]:
        yield rule.finding(severities[0], name, evidence="", remedy="", tensors=tensors)

    ordered = tuple(sorted(severities, key=lambda severity: -severity.rank))
    rule = Rule(f"SD9{name}", name, "", ordered, (Check(Weather, look),), explains=explains)
    return rule


def told(*rules: Rule) -> list[tuple[str, Severity]]:
    return [(finding.name, finding.severity) for finding in findings([Weather(True)], rules)]


CLOUD = sky(
    "cloud", Severity.WARNING, Severity.CRITICAL, tensors=("a", "b"), explains=(Symptom("wet"),)
)


def test_a_symptom_is_left_out_beside_its_cause_and_named_without_it() -> None:
    wet = sky("wet", Severity.WARNING, tensors=("a",))
    assert told(wet, CLOUD) == told(CLOUD, wet) == [("cloud", Severity.WARNING)]
    assert told(wet) == [("wet", Severity.WARNING)]


def test_what_names_another_tensor_is_another_fault() -> None:
    wet = sky("wet", Severity.WARNING, tensors=("a", "c"))
    assert told(wet, CLOUD) == [("wet", Severity.WARNING), ("cloud", Severity.WARNING)]


def test_a_cause_is_as_bad_as_its_worst_symptom_where_it_may_be() -> None:
    wet = sky("wet", Severity.CRITICAL)
    assert told(wet, CLOUD) == [("cloud", Severity.CRITICAL)]
    thin = sky("cloud", Severity.WARNING, explains=(Symptom("wet"),))
    assert told(wet, thin) == [("cloud", Severity.WARNING)]


def test_a_notice_explains_nothing() -> None:
    haze = sky("haze", Severity.NOTICE, explains=(Symptom("wet"),))
    wet = sky("wet", Severity.NOTICE)
    assert told(haze, wet) == [("haze", Severity.NOTICE), ("wet", Severity.NOTICE)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_what_a_rule_explains_is_a_rule_and_not_itself(rule: Rule) -> None:
    names = [symptom.rule for symptom in rule.explains]
    assert {*names} <= {other.name for other in RULES} - {rule.name}
    assert len(names) == len({*names})


# -- nobody else knows a rule by its code ------------------------------------------------------


def spelled(tree: ast.AST) -> Iterator[str]:
    """The texts in a module's code, less docstrings and what `--help` shows."""
    for_people: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for_people.add(node.value)
        elif isinstance(node, ast.keyword) and node.arg == "help":
            for_people |= {*ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in for_people:
            yield str(node.value)


ADJECTIVE = "non-finite"
"""A rule's name that the training callbacks use as a word."""
OTHERS = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "diagnosis" / "rules"
)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_code_or_name_of_a_rule_is_spelled_outside_its_file(path: Path) -> None:
    names = {rule.name for rule in RULES} - {*Cause, ADJECTIVE}
    for text in spelled(ast.parse(path.read_text(encoding="utf-8"))):
        assert not re.search(r"\bSD\d", text)
        assert text not in names


def test_a_code_in_a_modules_logic_would_be_noticed() -> None:
    code = '"""SD1"""\nf("SD2", help="SD3")\nx = f"{y} SD4"'
    assert [*spelled(ast.parse(code))] == ["SD2", " SD4"]
