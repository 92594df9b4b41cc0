"""What a command imports: starting up is most of what a scan costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sacdoctor.cli.main import VERBS
from tests.conftest import ROOT, child_environment

ALLOWED = {
    "sacdoctor",
    "numpy",
    "msgspec",
    "typer",
    "shellingham",
    "annotated_doc",
    "typing_extensions",
}
"""Packages outside the standard library that `scan --format json` may import: numpy to count,
msgspec for classes of data, typer to parse arguments, and the small ones that typer brings."""
SLOW = {"asyncio", "concurrent", "http", "multiprocessing", "pydoc", "sqlite3", "unittest", "xml"}
"""Parts of the standard library that nothing here needs and that take milliseconds."""


LISTING = """
import atexit, sys
before = set(sys.modules)
atexit.register(lambda: sys.stderr.write(" ".join(set(sys.modules) - before)))
from sacdoctor.cli.main import main
sys.argv = ["sacdoctor", *sys.argv[1:]]
main()
"""


def imported(*arguments: object) -> set[str]:
    """The modules that a command has imported when it ends.

    Not from `-X importtime`, which leaves out what `importlib` is asked for by name.
    """
    done = subprocess.run(
        [sys.executable, "-c", LISTING, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=child_environment(),
    )
    assert done.stdout
    return set(done.stderr.split())


@pytest.fixture(scope="module")
def scan_imports(healthy: Path) -> set[str]:
    return imported("scan", "--format", "json", healthy)


def test_a_scan_for_scripts_imports_what_it_needs_and_no_more(scan_imports: set[str]) -> None:
    packages = {name.partition(".")[0] for name in scan_imports}
    outside = packages - sys.stdlib_module_names
    assert {"sacdoctor", "numpy"} <= outside <= ALLOWED
    assert not packages & SLOW


def test_a_scan_imports_neither_other_verbs_nor_what_they_use(scan_imports: set[str]) -> None:
    own = {name for name in scan_imports if name.startswith("sacdoctor.")}
    verbs = {path.stem for path in (ROOT / "sacdoctor" / "cli").glob("*.py")}
    helpers = {"__init__", "main", "options", "outcome", "terminal", "config", "asked"}
    assert {n.removeprefix("sacdoctor.cli.") for n in own if ".cli." in n} - helpers == {"scan"}
    assert {"scan", "fix"} < verbs
    floors = {name.split(".")[1] for name in own}
    assert not floors & {"repair", "training", "history"}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_imports_torch_to_start(verb: str) -> None:
    packages = {name.partition(".")[0] for name in imported(verb, "--help")}
    assert not packages & {"torch", "stable_baselines3", "matplotlib", "pandas", "tensorboard"}
