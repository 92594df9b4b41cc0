"""Every rule explains itself under the same headings, and stands where its code puts it."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import iter_modules

import pytest

from sacdoctor.diagnosis import rules
from sacdoctor.diagnosis.buffer_facts import StoredTransitions
from sacdoctor.diagnosis.examination import Examination
from sacdoctor.diagnosis.rules.interface import Rule
from sacdoctor.diagnosis.rules.registry import RULES
from sacdoctor.model import Cause
from sacdoctor.trust.suspicions import LoadedCode

HEADINGS = [
    "What it does",
    "Why is this bad",
    "Example",
    "Use instead",
    "Fix safety",
    "References",
]
ELSEWHERE = {"SD207", "SD210", "SD501", "SD502", "SD503", "SD701", "SD702"}
ELSEWHERE |= {"SD305", "SD801", "SD802", "SD803", "SD804", "SD807", "SD808"}
ELSEWHERE |= {"SD106", "SD306", "SD508"}
"""Faults that show between checkpoints, in logs, in replay buffers, when a file is opened, or when
a network is set to work."""
IN_BUFFERS = {"SD901", "SD902", "SD903", "SD904", "SD905", "SD906", "SD907", "SD908"}
"""Faults of the transitions in a replay buffer."""
OF_CODE = {"SD601", "SD602"}
"""Rules about what pickles refer to, which examine no tensor."""

NAMES = {
    **{"SD101": "dead-bias", "SD102": "partly-dead-bias", "SD103": "dead-weight"},
    **{"SD104": "dead-unit", "SD201": "untrained", "SD202": "not-in-optimizer"},
    **{"SD203": "no-gradient", "SD204": "zero-gradient", "SD205": "reset-after-training"},
    **{"SD206": "target-out-of-sync", "SD207": "never-updated", "SD301": "non-finite"},
    **{"SD302": "exploded-weights", "SD303": "exploding-gradients", "SD401": "learning-rate"},
    **{"SD402": "gradient-clipping", "SD403": "value-clipping", "SD404": "schedule-mismatch"},
    **{"SD405": "setting-out-of-range", "SD406": "never-starts", "SD408": "few-updates"},
    **{"SD407": "action-space", "SD506": "entropy-explosion", "SD507": "exploration-explosion"},
    **{"SD501": "updates-during-warmup", "SD502": "long-warmup", "SD503": "forced-actions"},
    **{"SD504": "entropy-collapse", "SD505": "exploration-collapse", "SD601": "unsafe-pickle"},
    **{"SD105": "dead-units", "SD107": "identical-units", "SD208": "stopped-network"},
    **{"SD209": "stale-target", "SD304": "input-scale", "SD210": "standing-still"},
    **{"SD901": "non-finite-transitions", "SD902": "broken-succession"},
    **{"SD903": "frozen-observation", "SD904": "ignored-action", "SD905": "odd-episodes"},
    **{"SD906": "observation-scale", "SD907": "reward-scale", "SD908": "timeouts-as-terminals"},
    **{"SD602": "unknown-code", "SD701": "corrupt-record", "SD702": "unreadable"},
    **{"SD801": "normalisation-missing", "SD802": "normalisation-mismatch"},
    **{"SD803": "buffer-missing", "SD804": "restarted-schedule"},
    **{"SD805": "portability", "SD806": "wrapped-names", "SD305": "value-out-of-bounds"},
    **{"SD807": "unexplained-jump", "SD808": "destructive-update", "SD106": "saturated-units"},
    **{"SD306": "bellman-residual", "SD508": "action-stagnation"},
}

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)


@each_rule
def test_headings_are_all_there_in_order(rule: Rule) -> None:
    assert re.findall(r"^## (.*)$", rule.explanation, re.MULTILINE) == HEADINGS


@each_rule
def test_every_heading_has_a_text(rule: Rule) -> None:
    for section in re.split(r"^## .*$", rule.explanation, flags=re.MULTILINE):
        assert section.strip()


@each_rule
def test_summary_is_one_sentence_on_one_line(rule: Rule) -> None:
    assert rule.summary == rule.explanation.splitlines()[0]
    assert rule.summary.endswith(".")
    assert rule.explanation.splitlines()[1] == ""


@each_rule
def test_code_fences_are_closed(rule: Rule) -> None:
    assert rule.explanation.count("```") % 2 == 0


@each_rule
def test_name_is_the_designs_and_that_of_its_file(rule: Rule) -> None:
    assert rule.name == NAMES[rule.code]
    module = import_module(f"{rules.__name__}.{rule.name.replace('-', '_')}")
    assert module.RULE is rule


@each_rule
def test_rule_checks_unless_its_fault_shows_elsewhere(rule: Rule) -> None:
    elsewhere = ELSEWHERE | OF_CODE | IN_BUFFERS
    assert rule.looks_at(Examination) == (rule.code not in elsewhere)
    assert rule.looks_at(StoredTransitions) == (rule.code in IN_BUFFERS)
    assert rule.looks_at(LoadedCode) == (rule.code in OF_CODE)


def test_codes_are_unique_and_in_order() -> None:
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))


def test_no_rule_is_forgotten() -> None:
    files = {module.name for module in iter_modules(rules.__path__)}
    registered = {rule.name.replace("-", "_") for rule in RULES}
    assert registered == files - {"interface", "registry"}
    assert {rule.code for rule in RULES} >= {*NAMES}


def test_causes_have_the_rules_that_are_named_after_them() -> None:
    named = {rule.name for rule in RULES}
    without = {Cause.NORMALISATION_INIT, Cause.UNKNOWN}
    assert named >= {cause.value for cause in Cause if cause not in without}
