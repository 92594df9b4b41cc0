"""What the pages say holds of the code: command lines, links, figures, the version."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import typer
from ruamel.yaml import YAML

import sacdoctor
import sacdoctor.training
from sacdoctor.cli.main import application
from sacdoctor.diagnosis.rules import RULES
from sacdoctor.version import __version__
from tests.conftest import ROOT, Run

MADE = ("docs/api.md", "docs/cli.md", "docs/rules/")
"""Pages that a build of the site leaves, made from code."""
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if not path.relative_to(ROOT).as_posix().startswith(MADE)
}
VERBS: dict[str, Any] = typer.main.get_command(application()).commands  # type: ignore[attr-defined]

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)")


def in_blocks(text: str) -> Iterator[str]:
    """Yield each line that a page shows for a shell."""
    for language, block in FENCE.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        if language == "console":
            yield from (line[2:] for line in lines if line.startswith("$ "))
        elif language == "sh":
            yield from lines


def in_passing(text: str) -> Iterator[str]:
    """Yield each piece of code in a page's running text."""
    for code in CODE.findall(FENCE.sub("", text)):
        yield " ".join(code.split())


def arguments(line: str) -> Iterator[list[str]]:
    """Yield what each `sacdoctor` in a line of the shell is given."""
    if "sacdoctor " in line:
        for part in re.split(r"&&|[|>]", line.split("  #")[0]):
            words = [word for word in shlex.split(part) if not re.match(r"[A-Z]+=", word)]
            if words[:1] == ["sacdoctor"]:
                yield words[1:]


def complaint(words: list[str]) -> str | None:
    """Return what the command says against these arguments, None if it takes them."""
    verb, *rest = (re.sub("^RATE$", "1", word) for word in words)
    if verb not in VERBS:
        return None if verb in {"--version", "--help", "VERB"} else "no such verb"
    try:
        VERBS[verb].make_context(verb, rest)
    except typer.TyperException as error:
        return str(error)
    return None


def refused(text: str) -> list[tuple[str, str]]:
    """Return what a page shows and the command does not take, with what it says.

    A line for the shell is whole; running text may leave out what a verb is about.
    """
    said = [(words, complaint(words)) for line in in_blocks(text) for words in arguments(line)]
    for code in in_passing(text):
        for words in arguments(code):
            answer = complaint(words)
            if answer is None or not answer.startswith("Missing parameter"):
                said.append((words, answer))
    return [(" ".join(words), answer) for words, answer in said if answer is not None]


TEXTS = PAGES | {rule.code: rule.explanation for rule in RULES}


@pytest.mark.parametrize("name", [name for name in TEXTS if "sacdoctor " in TEXTS[name]])
def test_the_command_takes_every_line_that_is_shown(name: str) -> None:
    assert refused(TEXTS[name]) == []


def test_lines_that_the_command_does_not_take_are_noticed() -> None:
    page = (
        "`sacdoctor fix --donor auto`, `sacdoctor heal`\n```sh\nsacdoctor scan --fail-upon x\n```\n"
    )
    assert [line for line, _ in refused(page)] == ["scan --fail-upon x", "heal"]


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 200


def test_no_measured_row_stands_twice() -> None:
    rows = Counter(
        line
        for text in PAGES.values()
        for line in text.splitlines()
        if line.startswith("|") and len(re.findall(r"\d", line)) > 3 and "](" not in line
    )
    assert [row for row, times in rows.items() if times > 1] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_pages_outside_the_site_lead_somewhere(name: str) -> None:
    """Those of the others are followed when the site is built."""
    for path, anchor in LINK.findall(PAGES[name]):
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), anchor


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST name them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {__version__}\n" in PAGES["CHANGELOG.md"]


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/*.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_forms_and_citation_are_as_their_readers_want_them(schema: str, pattern: str) -> None:
    vendor = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    wanted = json.loads((vendor / f"{schema}.json").read_text())
    for path in ROOT.glob(pattern):
        document = YAML(typ="safe").load(path.read_text())
        jsonschema.validators.validator_for(wanted)(wanted).validate(document)


def test_pictures_load_nothing() -> None:
    for picture in (ROOT / "docs" / "pictures").glob("*.svg"):
        addresses = re.findall(r"(?:href|src|url)\W+(https?:[^\"')]+)", picture.read_text())
        assert addresses == [], picture.name


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    pages: dict[str, str] = runpy.run_path(str(ROOT / "docs" / "made.py"))["pages"]()
    return pages


def test_every_rule_has_the_page_that_the_command_prints(made: dict[str, str], run: Run) -> None:
    assert {f"rules/{rule.code}.md" for rule in RULES} < made.keys()
    assert made["rules/SD202.md"].strip() == run("rules", "SD202").out.strip()
    assert all(f"({rule.code}.md) | " in made["rules/index.md"] for rule in RULES)


def test_every_public_name_is_on_the_page_of_the_api(made: dict[str, str]) -> None:
    promised = {f"sacdoctor.{name}" for name in sacdoctor.__all__ if name != "__version__"}
    promised |= {f"sacdoctor.training.{name}" for name in sacdoctor.training.__all__}
    assert set(re.findall(r"^\.\. auto\w+:: (.*)$", made["api.md"], re.MULTILINE)) == promised


def test_every_option_is_on_the_page_of_the_command_line(made: dict[str, str]) -> None:
    options = {opt for verb in VERBS.values() for one in verb.params for opt in one.opts}
    assert [
        opt for opt in options if opt.startswith("--") and f"`{opt}" not in made["cli.md"]
    ] == []


def test_what_is_made_from_code_is_not_committed() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--", *MADE], cwd=ROOT, capture_output=True, text=True
    )
    assert listed.stdout == ""
