"""`sacdoctor diff` as a person and a script see it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch as th

from sacdoctor import fix
from tests.archives import write_sb3
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


def test_two_states_of_a_training_are_one_screen(run: Run, tmp_path: Path) -> None:
    """Every tensor moved: a component has a line, with the most that any of its tensors did."""
    generator = th.Generator().manual_seed(0)
    names = [f"{part}.{n}.weight" for part in ("actor", "critic") for n in range(20)]
    before = {name: th.randn(4, generator=generator) for name in names}
    after = {name: tensor + 1.0 for name, tensor in before.items()}
    after["critic.7.weight"] = before["critic.7.weight"] + 3.0
    paths = [write_sb3(tmp_path / f"{n}.zip", of) for n, of in enumerate((before, after))]
    lines = run("diff", *paths).out.splitlines()
    assert len(lines) <= 24
    rows = {line.split()[0]: line.split() for line in lines if " of 20 " in line}
    assert rows["actor"][1:5] == ["20", "of", "20", "1"]
    assert rows["critic"][1:5] == ["20", "of", "20", "3"]
    share = 3.0 * 2.0 / float(before["critic.7.weight"].norm())  # of four elements
    assert float(rows["critic"][5]) >= float(f"{share:.3g}")
    listed = run("diff", *paths, "--all").out
    assert all(name in listed for name in names)


def test_two_equal_files_in_a_word(run: Run, broken: Path) -> None:
    assert run("diff", broken, broken).out.endswith(
        "SAME  Tensors, moments and settings are equal.\n"
    )


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_no_line_is_wider_than_the_terminal(
    run: Run, broken: Path, fixed: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    fix(broken, output=fixed, force=True)
    _, *lines = run("diff", broken, fixed).out.splitlines()  # the first holds two paths
    assert max(map(len, lines)) <= int(columns)


def test_a_part_that_is_wholly_gone_is_one_line(run: Run, broken: Path, tmp_path: Path) -> None:
    without = tmp_path / "without.zip"
    with zipfile.ZipFile(broken) as whole, zipfile.ZipFile(without, "w") as part:
        for name in whole.namelist():
            if not name.endswith("optimizer.pth"):
                part.writestr(name, whole.read(name))
    lines = run("diff", broken, without).out.splitlines()
    (line,) = [line for line in lines if line.startswith("policy.optimizer ")]
    assert line.split() == ["policy.optimizer", "123", "removed"]
    assert not any("exp_avg" in line for line in lines)


def test_a_change_to_nan_has_no_size(run: Run, tmp_path: Path) -> None:
    paths = [
        write_sb3(tmp_path / f"{number}.zip", {"fc.bias": th.tensor([1.0, number])})
        for number in (2.0, float("nan"))
    ]
    (line,) = [of for of in run("diff", *paths).out.splitlines() if "fc.bias" in of]
    assert line.split() == ["fc.bias", "1", "undefined"]
