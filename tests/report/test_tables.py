"""Results as tables: what other programs read, runs that go on, and what many come to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as parquet
import pytest

from fixtures.make import CHECKPOINTS
from tests.conftest import Run, child_environment
from tests.report.formats.json.test_schemas import check
from tests.report.formats.reports import hostile


def scanned(run: Run, format: str, output: Path, *paths: Path) -> Path:
    run("scan", "--format", format, "--output", output, *paths)
    return output


@pytest.fixture
def folder(tmp_path: Path, healthy_bytes: bytes, broken: Path) -> Path:
    """Three checkpoints: a healthy one, a broken one, and one that is none."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a.zip").write_bytes(healthy_bytes)
    (folder / "b.zip").write_bytes(broken.read_bytes())
    (folder / "c.zip").write_bytes(b"nothing")
    return folder


def test_parquet_says_what_json_says(run: Run, folder: Path, tmp_path: Path) -> None:
    hostile(folder)
    table = scanned(run, "parquet", tmp_path / "all.parquet", folder)
    document = json.loads(run("scan", "--format", "json", folder).out)
    rows = duckdb.execute(
        'SELECT path, "row", status, algorithm, tensors, rule, severity, about, message '
        "FROM read_parquet(?)",
        [str(table)],
    ).fetchall()
    expected: list[tuple[object, ...]] = []
    for one in document["checkpoints"]:
        shared = one["path"], one["status"], one["algorithm"]
        tensors = (one["summary"] or {}).get("tensors")
        expected.append((shared[0], "checkpoint", *shared[1:], tensors, *[None] * 4))
        for finding in one["findings"]:
            said = [finding[key] for key in ("rule", "severity", "tensors", "message")]
            expected.append((shared[0], "finding", *shared[1:], None, *said))
    assert rows == expected


def test_parquet_for_a_terminal_or_without_pyarrow_is_one_line(
    run: Run, healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("scan", "--format", "parquet", "--output", tmp_path / "x.parquet", healthy)
    assert (done.code, done.complaint) == (
        2,
        "sacdoctor: Parquet needs pyarrow: pip install 'sacdoctor[tables]'",
    )
    assert not (tmp_path / "x.parquet").exists()


# -- going on ----------------------------------------------------------------------------------


def paths_in(resumed: Path) -> list[str]:
    query = (
        "SELECT path FROM read_json(?, format='newline_delimited')"
        if resumed.is_file()
        else "SELECT path FROM read_parquet(?) WHERE \"row\" = 'checkpoint'"
    )
    name = str(resumed) if resumed.is_file() else f"{resumed}/*.parquet"
    return sorted(Path(path).name for (path,) in duckdb.execute(query, [name]).fetchall())


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_run_goes_on_where_it_stopped(
    run: Run, folder: Path, tmp_path: Path, format: str
) -> None:
    resumed = tmp_path / "results"
    arguments = ("scan", "--format", format, "--resume", resumed)
    first = run(*arguments, folder / "b.zip", folder / "c.zip")
    assert (first.code, first.out) == (2, "")
    (folder / "c.zip").write_bytes((folder / "a.zip").read_bytes())
    (folder / "b.zip").unlink()  # nobody looks at it again
    second = run(*arguments, folder / "a.zip", folder / "b.zip", folder / "c.zip")
    assert second.err == f"sacdoctor: {resumed} has 1 result; going on behind it\n"
    assert second.code == 1  # for what the first run found
    assert paths_in(resumed) == ["a.zip", "b.zip", "c.zip"]


def test_a_line_that_was_cut_off_is_done_again(run: Run, folder: Path, tmp_path: Path) -> None:
    resumed = tmp_path / "results.jsonl"
    run("scan", "--format", "jsonl", "--resume", resumed, folder / "a.zip", folder / "b.zip")
    whole = resumed.read_bytes()
    resumed.write_bytes(whole[:-100])
    run("scan", "--format", "jsonl", "--resume", resumed, folder / "a.zip", folder / "b.zip")
    assert resumed.read_bytes() == whole


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_what_holds_other_things_is_refused_and_stays(
    run: Run, healthy: Path, tmp_path: Path, format: str
) -> None:
    (tmp_path / "notes").write_text('{"a": 1}\nmine')
    done = run("scan", "--format", format, "--resume", tmp_path / "notes", healthy)
    assert done.code == 2
    assert done.complaint.startswith(f"sacdoctor: {tmp_path / 'notes'}: it ")
    assert (tmp_path / "notes").read_text() == '{"a": 1}\nmine'


@pytest.mark.slow
def test_an_interrupted_run_keeps_what_it_has_found(many: Path, tmp_path: Path) -> None:
    resumed = tmp_path / "parts"
    command = [sys.executable, "-m", "sacdoctor", "scan", "--format", "parquet"]
    child = subprocess.Popen(
        [*command, "--jobs", "1", "--resume", str(resumed), str(many)],
        stderr=subprocess.PIPE,
        env=child_environment(),
    )
    deadline = time.monotonic() + 20
    while not resumed.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 130
    found = len(paths_in(resumed))
    assert 0 < found < len(list(many.glob("*.zip")))


# -- summaries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_summary_counts_by_rule_algorithm_and_version(
    run: Run, tmp_path: Path, format: str
) -> None:
    results = scanned(run, format, tmp_path / "a[1]", CHECKPOINTS, tmp_path / "missing.zip")
    document = json.loads(run("summary", "--format", "json", results, results).out)
    check("summary", document)
    assert document["checkpoints"] == 5
    assert document["statuses"] == {"critical": 2, "error": 1, "healthy": 2}
    counts = {one["rule"]: one["critical"] for one in document["rules"]}
    assert (counts["SD101"], counts["SD202"], counts["SD401"]) == (2, 2, 1)
    assert document["algorithms"] == [
        {"algorithm": name, "checkpoints": 2, "statuses": {"critical": 1, "healthy": 1}}
        for name in ("RecurrentPPO", "SAC")
    ] + [{"algorithm": None, "checkpoints": 1, "statuses": {"error": 1}}]
    table = run("summary", results).out
    assert table.startswith("5 checkpoints: 2 critical, 2 healthy, 1 error\n")


def test_of_two_results_on_a_file_the_later_holds(run: Run, folder: Path, tmp_path: Path) -> None:
    before = scanned(run, "jsonl", tmp_path / "before", folder)
    (folder / "b.zip").write_bytes((folder / "a.zip").read_bytes())
    after = scanned(run, "parquet", tmp_path / "after", folder)
    document = json.loads(run("summary", "--format", "json", before, after).out)
    assert document["statuses"] == {"error": 1, "healthy": 2}


def test_a_summary_of_something_else_is_one_line(run: Run, healthy: Path) -> None:
    done = run("summary", healthy)
    assert (done.code, done.out) == (2, "")
    assert done.complaint.endswith("it holds no results of scan --format jsonl or parquet")


def test_row_groups_are_written_as_they_fill(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sacdoctor.report.rows._MOST", 1)
    table = scanned(run, "parquet", tmp_path / "all.parquet", folder)
    assert parquet.ParquetFile(table).num_row_groups == 3
