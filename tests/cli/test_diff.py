"""`sacdoctor diff` as a person and a script see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacdoctor import fix
from tests.conftest import Run


@pytest.fixture
def fixed(broken: Path, tmp_path: Path) -> Path:
    fix(broken, output=tmp_path / "fixed.zip")
    return tmp_path / "fixed.zip"


def test_exit_codes_are_those_of_diff(run: Run, broken: Path, fixed: Path, tmp_path: Path) -> None:
    assert run("diff", broken, broken).code == 0
    assert run("diff", broken, fixed).code == 1
    missing = run("diff", broken, tmp_path / "missing.zip")
    assert missing.code == 2
    assert missing.out == ""
    assert missing.err == f"sacdoctor: {tmp_path / 'missing.zip'}: No such file or directory\n"


def test_the_json_document(run: Run, broken: Path, fixed: Path) -> None:
    document = json.loads(run("diff", broken, fixed, "--format", "json").out)
    assert document["schema_version"] == 1
    assert (document["a"], document["b"]) == (str(broken), str(fixed))
    repaired = json.loads(
        run("fix", broken, "--dry-run", "--output", "unused.zip", "--format", "json").out
    )
    changed = {t["name"] for t in document["tensors"] if t["status"] == "changed"}
    assert changed == {repair["name"] for repair in repaired["repaired"]}
    assert {t["status"] for t in document["tensors"]} == {"changed", "identical"}
    assert set(document["tensors"][0]) >= {"name", "status", "changed", "max_abs", "relative_l2"}
    assert set(document["optimizer"][0]) >= {"file", "name", "moment", "status", "changed"}
    assert document["settings"] == []


def test_the_table_names_what_moved_and_counts_the_rest(
    run: Run, broken: Path, fixed: Path
) -> None:
    out = run("diff", broken, fixed).out
    assert "DIFFERENT  20 of 134 tensors, 0 of 123 optimizer moments, 0 of" in out
    assert "v8_shared_lstm.bias_ih_l0" in out
    assert "v8_shared_lstm.weight_ih_l0" not in out
    assert "identical" in out


def test_two_equal_files_in_a_word(run: Run, broken: Path) -> None:
    assert run("diff", broken, broken).out.endswith("SAME  Nothing differs.\n")


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_no_line_is_wider_than_the_terminal(
    run: Run, broken: Path, fixed: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    fix(broken, output=fixed, force=True)
    _, *lines = run("diff", broken, fixed).out.splitlines()  # the first holds two paths
    assert max(map(len, lines)) <= int(columns)
