"""All rules by their codes, found by being files in this folder, and what a selection finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

from msgspec.structs import replace

from sacdoctor.diagnosis import rules as folder
from sacdoctor.diagnosis.rules.interface import Rule, Subject
from sacdoctor.model import Finding
from sacdoctor.severity import Severity, worst

_NO_RULES = ("interface", "registry")


def ordered(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules in the order of their codes.

    Raises `ValueError` where two have one code, or one name.
    """
    found = tuple(sorted(rules, key=lambda rule: rule.code))
    names = [name for rule in found for name in (rule.code, rule.name)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{names.count(name)} rules are called {name}")
    return found


def _discovered() -> Iterator[Rule]:
    for file in iter_modules(folder.__path__):
        if file.name not in _NO_RULES:
            yield import_module(f"{folder.__name__}.{file.name}").RULE


RULES = ordered(_discovered())
"""All rules in the order of their codes."""

_BY_CODE = {rule.code: rule for rule in RULES}
_BY_NAME = {rule.name: rule for rule in RULES}


def rule_of(finding: Finding) -> Rule:
    """Return the rule that a finding is an instance of."""
    return _BY_CODE[finding.rule]


def rule_named(name: str) -> Rule:
    """Return the rule of this name; rules about a cause are named after it."""
    return _BY_NAME[name]


class Found(NamedTuple):
    """A finding, the rule that it is of, and what that rule judged."""

    judged: Any
    rule: Rule
    finding: Finding

    def explains(self, other: Found) -> bool:
        """Return whether another finding follows from this one."""
        return self.finding.severity.rank >= Severity.WARNING.rank and any(
            symptom.rule == other.rule.name
            and symptom.follows(self.judged, self.finding, other.finding)
            for symptom in self.rule.symptoms_of(self.finding)
        )


def findings(subjects: Iterable[Subject], rules: Iterable[Rule]) -> tuple[Finding, ...]:
    """Return what the rules find in the subjects, the worst first.

    Among findings of one severity rules that come first do so; then the subjects' order decides,
    then that of the rules. A subject is asked for once those before it are judged. What another
    finding explains (`Rule.explains`) is left out.
    """
    rules = tuple(rules)
    return causes(
        Found(subject, rule, finding)
        for subject in subjects
        for rule in rules
        for finding in rule.findings_in(subject)
    )


def causes(found: Iterable[Found]) -> tuple[Finding, ...]:
    """Return the findings that no other explains, in the order of `findings`.

    Each is as bad as the worst that it explains, where its rule's severities let it.
    """
    found = tuple(found)
    left = []
    for one in found:
        if any(other.explains(one) for other in found):
            continue
        level = worst(
            [one.finding.severity, *(o.finding.severity for o in found if one.explains(o))]
        )
        if level in one.rule.severities:
            one = one._replace(finding=replace(one.finding, severity=level))
        left.append(one)
    left.sort(key=lambda one: (-one.finding.severity.rank, not one.rule.comes_first))
    return tuple(one.finding for one in left)


def selected(select: Iterable[str], ignore: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules that `select` names (none given: all), less those that `ignore` names.

    Each is a rule's code, a prefix of codes, or a rule's name. Raises `ValueError` for what is
    none of them.
    """
    wanted, unwanted = tuple(select), tuple(ignore)
    for text in (*wanted, *unwanted):
        if not any(_is_named(rule, (text,)) for rule in RULES):
            raise ValueError(f"no rule's code starts with {text!r}")
    return tuple(
        rule
        for rule in RULES
        if (not wanted or _is_named(rule, wanted)) and not _is_named(rule, unwanted)
    )


def _is_named(rule: Rule, texts: tuple[str, ...]) -> bool:
    return rule.code.startswith(texts) or rule.name in texts


def as_spelled(text: str) -> str:
    """Return a code or name that a person typed in the letters in which it is spelled."""
    return text.lower() if text.lower() in _BY_NAME else text.upper()
