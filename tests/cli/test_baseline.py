"""`scan --baseline`: what is known does not fail, what is new or worse does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch as th

from tests.archives import write_sb3
from tests.conftest import Run
from tests.diagnosis.handmade import PPO, adam

POLICY = {"net.bias": th.ones(2)}
ADAM = {"policy.optimizer": adam([th.ones(2)], lr=3e-4)}


def checkpoint(path: Path, **biases: float) -> Path:
    """A checkpoint with three elements per bias, all of this value."""
    return write_sb3(path, {f"{n}.bias": th.full((3,), value) for n, value in biases.items()}, {})


def scan(run: Run, *arguments: object) -> int:
    return run("scan", "--baseline", "known.json", *arguments).code


def test_what_is_known_does_not_fail(run: Run, broken: Path) -> None:
    written = run("scan", "--baseline", "known.json", "--write-baseline", broken)
    assert (written.code, written.complaint) == (
        0,
        "sacdoctor: known.json knows 3 findings from now on",
    )
    assert run("scan", broken).code == 1
    assert scan(run, broken) == 0


def test_what_is_new_fails(run: Run, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "m.zip", a=th.nan, b=1.0)
    run("scan", "--baseline", "known.json", "--write-baseline", path)
    assert scan(run, path) == 0
    checkpoint(path, a=th.nan, b=1e30)  # another rule
    assert scan(run, path) == 1
    checkpoint(path, a=th.nan, b=th.nan)  # the same, in more tensors
    assert scan(run, path) == 1
    checkpoint(path, a=1.0, b=th.nan)  # the same, in another
    assert scan(run, path) == 1


def test_what_became_worse_is_new(run: Run, tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "m.zip", {"a.weight": th.full((3, 3), 200.0)}, {})
    run("scan", "--baseline", "known.json", "--write-baseline", "--fail-on", "warning", path)
    before = json.loads(Path("known.json").read_text())["findings"][0]["severity"]
    assert scan(run, "--fail-on", "warning", path) == 0
    write_sb3(path, {"a.weight": th.full((3, 3), 1e9)}, {})
    worse = json.loads(run("scan", "--format", "json", path).out)["checkpoints"][0]["findings"]
    assert (before, worse[0]["severity"]) == ("warning", "critical")
    assert scan(run, "--fail-on", "warning", path) == 1


def test_other_figures_are_the_same_finding_and_other_settings_are_not(
    run: Run, tmp_path: Path
) -> None:
    """Findings about settings name no tensors: what they say tells them apart."""

    def train_with(**settings: float) -> Path:
        return write_sb3(tmp_path / "m.zip", POLICY, {**PPO, **settings}, ADAM)

    path = train_with(gamma=1.05)
    run("scan", "--baseline", "known.json", "--write-baseline", path)
    assert [one["rule"] for one in json.loads(Path("known.json").read_text())["findings"]] == [
        "SD405"
    ]
    assert scan(run, train_with(gamma=1.07)) == 0
    assert scan(run, "--fail-on", "warning", train_with(gamma=1.05, clip_range=10.0)) == 1


def test_the_same_finding_in_another_file_is_new(run: Run, tmp_path: Path) -> None:
    run(
        "scan",
        "--baseline",
        "known.json",
        "--write-baseline",
        checkpoint(tmp_path / "a.zip", a=th.nan),
    )
    assert scan(run, checkpoint(tmp_path / "b.zip", a=th.nan)) == 1


def test_files_are_known_wherever_the_command_runs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint(tmp_path / "m.zip", a=th.nan)
    run("scan", "--baseline", "known.json", "--write-baseline", "m.zip")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for spelled in ("../m.zip", path, "../below/../m"):
        assert run("scan", "--baseline", "../known.json", spelled).code == 0


def test_formats_say_what_is_known(run: Run, broken: Path) -> None:
    run("scan", "--baseline", "known.json", "--write-baseline", broken)
    told = run("scan", "--baseline", "known.json", broken).out
    assert "SD101 dead-bias  critical  known\n" in told
    assert told.endswith("known.json knows 3 findings: known ones do not fail.\n")
    document = json.loads(run("scan", "--baseline", "known.json", "--format", "json", broken).out)
    assert [f["known"] for f in document["checkpoints"][0]["findings"]] == [True] * 3
    assert "known" not in run("scan", "--format", "json", broken).out


def test_what_cannot_be_read_is_never_known(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\3\4nothing")
    assert run("scan", "--baseline", "known.json", "--write-baseline", bad).code == 2
    assert scan(run, bad) == 2


def test_a_baseline_is_sorted_and_names_no_folder_of_this_machine(run: Run, many: Path) -> None:
    for number, path in enumerate(sorted(many.iterdir())):
        checkpoint(path, a=th.nan, b=1e30 if number % 2 else 1.0)
    run("scan", "--baseline", "known.json", "--write-baseline", many)
    entries = json.loads(Path("known.json").read_text())["findings"]
    paths = [one["path"] for one in entries]
    assert paths == sorted(paths)
    assert paths[0] == "many/rl_model_0_steps.zip"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 2, "findings": []}', "[" * 9999]
)
def test_what_is_no_baseline_is_refused_in_one_line(run: Run, broken: Path, text: str) -> None:
    Path("known.json").write_text(text)
    outcome = run("scan", "--baseline", "known.json", broken)
    assert (outcome.code, outcome.out) == (2, "")
    assert "known.json: it is no baseline" in outcome.complaint


def test_a_baseline_that_is_not_there_is_refused(run: Run, broken: Path) -> None:
    outcome = run("scan", "--baseline", "known.json", broken)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--write-baseline writes one" in outcome.complaint


def test_writing_one_needs_its_name(run: Run, broken: Path) -> None:
    outcome = run("scan", "--write-baseline", broken)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--baseline FILE" in outcome.complaint
