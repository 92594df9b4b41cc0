"""Checkpoints from the wild: any folder of them, named by the environment.

`SACDOCTOR_CORPUS` is a folder of `.zip` files that healthy runs saved. A `MANIFEST.tsv` in it may
say in columns `file` and `algorithm` what each of them is.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from sacdoctor import scan
from tests import torch_truth
from tests.conftest import Run
from tests.scan_document import parse

CORPUS = os.environ.get("SACDOCTOR_CORPUS", "")
FILES = sorted(Path(CORPUS).absolute().rglob("*.zip")) if CORPUS else []

pytestmark = pytest.mark.skipif(not CORPUS, reason="SACDOCTOR_CORPUS names no folder")

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def _algorithms() -> dict[str, str]:
    manifest = Path(CORPUS) / "MANIFEST.tsv"
    if not manifest.is_file():
        return {}
    with manifest.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return {row["file"]: row["algorithm"] or _from_name(row["file"]) for row in rows}


def _from_name(file: str) -> str:
    # HER was a class of its own before SB3 1.1; what it wraps in the file of that name is SAC.
    return "SAC" if file.startswith("her-") else ""


def test_the_folder_holds_checkpoints() -> None:
    assert FILES


@each_file
def test_algorithm_is_the_manifests(path: Path) -> None:
    expected = _algorithms().get(path.name, "")
    found = scan(path).algorithm
    assert found == expected if expected else found is not None


@each_file
def test_counts_are_those_of_torch_load(path: Path) -> None:
    summary = scan(path).summary
    assert summary is not None
    found = (summary.tensors, summary.parameters, summary.zero_parameters)
    assert found == torch_truth.counts(torch_truth.state_dict(path))


@each_file
def test_learning_rates_are_those_of_torch_load(path: Path) -> None:
    assert scan(path).optimizer_learning_rates == torch_truth.learning_rates(path)


@each_file
def test_zeros_of_every_tensor_are_those_of_torch_load(path: Path) -> None:
    truth = torch_truth.state_dict(path)
    layers = scan(path).layers
    assert [layer.name for layer in layers] == list(truth)
    for layer in layers:
        assert layer.shape == tuple(truth[layer.name].shape)
        assert layer.zeros == torch_truth.zeros(truth[layer.name])


@each_file
def test_nothing_in_a_healthy_run_is_critical(run: Run, path: Path) -> None:
    outcome = run("scan", path, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    (checkpoint,) = parse(outcome.out)["checkpoints"]
    assert checkpoint["status"] != "critical"
    assert checkpoint["summary"]["critical"] == 0


def test_the_whole_folder_at_once_exits_0(run: Run) -> None:
    outcome = run("scan", CORPUS)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{len(FILES)} checkpoints: " in outcome.out or len(FILES) == 1
