"""The site of these pages: what is written stands beside this file, the rest is made from code.

`sphinx-build -W docs OUT` makes it. The rules' pages come from the rules, that of the command line
from the command, that of Python from docstrings, anew at every build: what is made is not
committed, and cannot say what the code does not.
"""

import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from typer.cli import get_docs_for_click

import sacdoctor
import sacdoctor.training
from sacdoctor.cli.main import application
from sacdoctor.diagnosis.rules import RULES, Rule
from sacdoctor.report.formats.table.rules import markdown
from sacdoctor.version import __version__

HERE = Path(__file__).parent
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

CODE = r"\b(SD\d{3})\b"

project = "sacdoctor"
version = release = __version__
author = "the authors of sacdoctor"
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence"]
myst_disable_syntax = ["html_block", "html_inline"]  # help texts say <stem> and mean it
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

smartquotes_action = "D"  # dashes alone
default_role = "code"  # docstrings are Markdown: what stands in single backticks is code
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"sacdoctor {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]


def write_pages(_app: Sphinx) -> None:
    """Write what is made from code: the rules, their list, the command line, the Python API."""
    folder = HERE / "rules"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for rule in RULES:
        (folder / f"{rule.code}.md").write_text(markdown(rule) + "\n", encoding="utf-8")
    (folder / "index.md").write_text(rules_list(), encoding="utf-8")
    (HERE / "cli.md").write_text(command_line(), encoding="utf-8")
    (HERE / "api.md").write_text(python_api(), encoding="utf-8")


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
    lines += [*_section("Functions", sacdoctor, inspect.isfunction)]
    lines += [*_section("Results and options", sacdoctor, _is_plain_class)]
    lines += [*_section("Words", sacdoctor, lambda found: _is_class(found, Enum))]
    lines += [
        *_section("Errors and warnings", sacdoctor, lambda found: _is_class(found, Exception))
    ]
    lines += [*_section("In a training", sacdoctor.training, callable)]
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
    if _is_class(found, BaseException):
        return "exception"
    return "class" if isinstance(found, type) else "function"


def _is_class(found: object, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base)


def _is_plain_class(found: object) -> bool:
    return isinstance(found, type) and not issubclass(found, (Enum, Exception))


def link_codes(app: Sphinx, document: nodes.document, page: str) -> None:
    """Make each rule's code in a text lead to its page; a code that no rule has is a warning."""
    known = {rule.code for rule in RULES}
    plain = (nodes.literal, nodes.literal_block, nodes.reference, nodes.title)
    for text in list(document.findall(nodes.Text)):
        if _is_within(text, plain) or not re.search(CODE, text):
            continue
        parts: list[nodes.Node] = []
        for part in re.split(CODE, text):
            if re.fullmatch(CODE, part) and part not in known:
                logging.getLogger(__name__).warning("no rule is called %s", part, location=page)
            if part in known and page != f"rules/{part}":
                address = app.builder.get_relative_uri(page, f"rules/{part}")
                parts.append(nodes.reference("", part, internal=True, refuri=address))
            else:
                parts.append(nodes.Text(part))
        text.parent.replace(text, parts)


def _is_within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def setup(app: Sphinx) -> None:
    """Have pages written before any is read, and rules' codes linked when one is done."""
    app.connect("builder-inited", write_pages)
    app.connect("doctree-resolved", link_codes)
