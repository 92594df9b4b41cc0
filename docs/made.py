"""The pages that are made from code: one per rule, their list, the command line, the Python API."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from types import ModuleType

import typer
from typer.cli import get_docs_for_click

import sacdoctor
import sacdoctor.training
from sacdoctor.cli.main import application
from sacdoctor.diagnosis.rules import RULES, Rule
from sacdoctor.report.formats.table.rules import markdown

FAMILIES = {
    "SD1": "Units and biases that do nothing",
    "SD2": "Parameters that do not learn",
    "SD3": "Numbers that are too large, or none",
    "SD4": "Settings",
    "SD5": "Warm-up and exploration",
    "SD6": "What loading a file would run",
    "SD7": "Files that cannot be read",
    "SD8": "Beside a checkpoint, and between two",
    "SD9": "Replay buffers",
}
"""What rules have in common whose codes begin alike."""


def pages() -> dict[str, str]:
    """Return each page's Markdown by its path below `docs/`."""
    made = {f"rules/{rule.code}.md": markdown(rule) + "\n" for rule in RULES}
    return made | {"rules/index.md": rules_list(), "cli.md": command_line(), "api.md": python_api()}


def rules_list() -> str:
    """Return the page that lists the rules, a table for each family of codes."""
    lines = [
        "# Rules",
        "",
        "What is looked for, by the code that stands in every finding. `sacdoctor rules SD202`, or",
        "`sacdoctor rules not-in-optimizer`, prints a rule's page at a terminal.",
    ]
    families: dict[str, list[Rule]] = {}
    for rule in RULES:
        families.setdefault(rule.code[:3], []).append(rule)
    for prefix, rules in families.items():
        lines += ["", f"## {FAMILIES[prefix]}", "", "| rule | severity | what it finds |"]
        lines += ["| --- | --- | --- |"]
        for rule in rules:
            severities = ", ".join(rule.severities)
            link = f"[{rule.code} {rule.name}]({rule.code}.md)"
            lines.append(f"| {link} | {severities} | {rule.summary} |")
    lines += ["", "```{toctree}", ":hidden:", "", *(rule.code for rule in RULES), "```", ""]
    return "\n".join(lines)


def command_line() -> str:
    """Return the help of all verbs as one page."""
    command = typer.main.get_command(application())
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="sacdoctor")
    text = text.replace("# `sacdoctor`", "# Command line", 1)
    return re.sub(r"(?<= )--[a-z][a-z-]+", r"`\g<0>`", text)  # in running text, else made a dash


def python_api() -> str:
    """Return the page of all public names, for autodoc to fill in."""
    lines = ["# Python API", "", "Made from the docstrings of what `import sacdoctor` promises."]
    lines += _section("Functions", sacdoctor, inspect.isfunction)
    lines += _section("Results and options", sacdoctor, _is_plain_class)
    lines += _section("Words", sacdoctor, lambda found: _is_class(found, Enum))
    lines += _section("Errors and warnings", sacdoctor, lambda found: _is_class(found, Exception))
    lines += _section("In a training", sacdoctor.training, callable)
    return "\n".join(lines) + "\n"


def _section(title: str, module: ModuleType, belongs: Callable[[object], bool]) -> Iterator[str]:
    yield from ("", f"## {title}", "", "```{eval-rst}")
    for name in module.__all__:
        found = getattr(module, name)
        if belongs(found):
            kind = _kind(found)
            yield f".. auto{kind}:: {module.__name__}.{name}"
            yield from ("   :members:", "   :undoc-members:") if kind != "function" else ()
            yield ""
    yield "```"


def _kind(found: object) -> str:
    if _is_class(found, Exception):
        return "exception"
    return "class" if isinstance(found, type) else "function"


def _is_class(found: object, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base)


def _is_plain_class(found: object) -> bool:
    return isinstance(found, type) and not issubclass(found, (Enum, Exception))
