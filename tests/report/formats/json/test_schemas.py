"""The schemas: documents are as they promise, and hold nothing that they do not name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fixtures.make import CHECKPOINTS
from sacdoctor.model import Cause
from sacdoctor.report.formats.json.schemas import schema, schema_names
from sacdoctor.severity import Severity, Status
from tests.conftest import Run
from tests.report.formats.reports import hostile
from tests.runs import Runs

each_document = pytest.mark.parametrize("name", schema_names())


def closed(part: Any) -> Any:
    """A schema that lets no key through that it does not name: a new one needs its line."""
    if isinstance(part, list):
        return [closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    again = {key: closed(value) for key, value in part.items()}
    if "properties" in part and "anyOf" not in part and "additionalProperties" not in part:
        again["unevaluatedProperties"] = False
    return again


def check(name: str, document: Any) -> None:
    whole = schema(name)
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(
        document
    )
    # `fix` has one of two shapes below the keys that both have
    strict = whole if name == "fix" else closed(whole)
    jsonschema.Draft202012Validator(strict).validate(document)


@each_document
def test_a_schema_is_one_and_complete_in_itself(name: str) -> None:
    whole = schema(name)
    jsonschema.Draft202012Validator.check_schema(whole)
    assert whole["title"]
    references = [*_references(whole)]
    assert {one.rpartition("/")[2] for one in references} == {*whole["$defs"]}


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for one in part:
            yield from _references(one)


@each_document
def test_the_verb_shows_it(run: Run, name: str) -> None:
    assert json.loads(run("schema", name).out) == schema(name)


def test_without_a_name_the_verb_says_which_there_are(run: Run) -> None:
    lines = run("schema").out.splitlines()
    assert [line.split()[0] for line in lines] == [*schema_names()]


def test_what_has_no_schema_is_refused_with_what_has_one(run: Run) -> None:
    outcome = run("schema", "table")
    assert (outcome.code, outcome.out) == (2, "")
    assert "'table'" in outcome.complaint
    assert "warmup" in outcome.complaint


def test_words_are_those_of_the_program() -> None:
    shared = schema("scan")["$defs"]
    assert shared["status"]["enum"] == [*Status]
    assert shared["severity"]["enum"] == [*Severity]
    assert shared["cause"]["enum"] == [*Cause]


@pytest.mark.parametrize("path", sorted(CHECKPOINTS.glob("*.zip")), ids=lambda path: path.stem)
def test_scans_and_repairs_and_differences(run: Run, path: Path, broken: Path) -> None:
    check("scan", json.loads(run("scan", "--all", "--format", "json", path).out))
    (line,) = run("scan", "--format", "jsonl", path).out.splitlines()
    check("scan-line", json.loads(line))
    check("fix", json.loads(run("fix", "--dry-run", "--format", "json", path).out))
    options = ("--strip-code", "--for-this-environment", "--learning-rate", "1e-4", "--dry-run")
    check("fix", json.loads(run("fix", *options, "--format", "json", path).out))
    check("diff", json.loads(run("diff", "--format", "json", broken, path).out))


def test_several_repairs(run: Run) -> None:
    check("fix", json.loads(run("fix", "--dry-run", "--format", "json", CHECKPOINTS).out))


def test_files_of_every_kind_and_a_settings_file(run: Run, tmp_path: Path, healthy: Path) -> None:
    (tmp_path / "sacdoctor.toml").write_text('warning = 12\nignore = ["SD6"]\n')
    (tmp_path / "nothing.zip").write_bytes(b"nothing")
    paths = (healthy, hostile(tmp_path), tmp_path / "nothing.zip", tmp_path / "missing.zip")
    document = json.loads(run("scan", "--format", "json", *paths).out)
    assert {one["status"] for one in document["checkpoints"]} == {"healthy", "critical", "error"}
    assert document["configuration"]["held"]
    check("scan", document)


def test_a_baseline_and_what_it_knows(run: Run, broken: Path) -> None:
    run("scan", "--baseline", "known.json", "--write-baseline", broken)
    check("baseline", json.loads(Path("known.json").read_text()))
    known = run("scan", "--baseline", "known.json", "--format", "json", broken)
    check("scan", json.loads(known.out))


def test_rules(run: Run) -> None:
    check("rules", json.loads(run("rules", "--format", "json").out))


@pytest.mark.parametrize("target", ["many", "broken"])
def test_a_checkup_and_a_warm_up(run: Run, request: pytest.FixtureRequest, target: str) -> None:
    path = request.getfixturevalue(target)
    check("checkup", json.loads(run("checkup", "--format", "json", path).out))
    check("warmup", json.loads(run("warmup", "--format", "json", path).out))


def test_a_history(run: Run, many: Path) -> None:
    (many / "bad.zip").write_bytes(b"PK\3\4")
    check("history", json.loads(run("history", "--format", "json", many).out))


def test_a_landing(run: Run, many: Path, broken: Path) -> None:
    (many / "z.zip").write_bytes(broken.read_bytes())
    lines = run("watch", "--format", "json", "--interval", 0.05, many).out.splitlines()
    assert len(lines) == 7
    for line in lines:
        check("watch", json.loads(line))


def test_a_history_with_all_that_can_happen(run: Run, runs: Runs) -> None:
    check("history", json.loads(run("history", "--format", "json", runs("crash")).out))
    check("checkup", json.loads(run("checkup", "--format", "json", runs("crash")).out))
