"""The listing of rules at terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sacdoctor.diagnosis.rules.registry import RULES
from sacdoctor.report.formats.table.rules import print_listing


def listing(width: int, *, color: bool = False) -> str:
    file = io.StringIO()
    print_listing(Console(file=file, width=width, force_terminal=color, highlight=False), RULES)
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_has_the_summary_below_the_name(width: int) -> None:
    lines = listing(width).splitlines()
    assert max(map(len, lines)) <= width
    heads = [line for line in lines if line.startswith("SD")]
    assert heads == [f"{r.code}  {r.name}  {', '.join(r.severities)}" for r in RULES]
    below = [line.removeprefix("      ") for line in lines if line.startswith("      ")]
    assert len(heads) + len(below) == len(lines)
    assert " ".join(below).split() == " ".join(rule.summary for rule in RULES).split()


def test_running_text_stays_readable_on_a_terminal_too_narrow_for_one_line() -> None:
    lines = listing(130).splitlines()
    assert max(map(len, lines)) <= 96


def test_a_wide_terminal_has_a_line_for_each_rule_in_columns() -> None:
    lines = listing(200).splitlines()
    assert len(lines) == len(RULES)
    starts = {line.index(f"  {rule.summary}") for line, rule in zip(lines, RULES, strict=True)}
    assert len(starts) == 1


def test_severities_have_the_colours_of_findings() -> None:
    first = listing(80, color=True).splitlines()[0]
    assert "\x1b[1;31mcritical\x1b[0m" in first
