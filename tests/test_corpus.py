"""What a scan says of checkpoints from the wild is what PyTorch and their publishers say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sacdoctor import scan
from tests import torch_truth
from tests.conftest import Run
from tests.corpus import CORPUS, FILES, MANIFEST, each_file, manifest, needs_corpus
from tests.scan_document import parse


def _algorithms() -> dict[str, str]:
    return {row["file"]: row["algorithm"] or _from_name(row["file"]) for row in manifest()}


def _from_name(file: str) -> str:
    # HER was a class of its own before SB3 1.1; what it wraps in the file of that name is SAC.
    return "SAC" if file.startswith("her-") else ""


@needs_corpus
def test_the_folder_holds_checkpoints() -> None:
    assert FILES


@needs_corpus
@pytest.mark.skipif(not MANIFEST.is_file(), reason="the corpus has no MANIFEST.tsv")
def test_the_files_are_those_of_the_manifest() -> None:
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES}
    assert digests == {row["file"]: row["sha256"] for row in manifest()}


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


@needs_corpus
def test_the_whole_folder_at_once_exits_0(run: Run) -> None:
    outcome = run("scan", CORPUS)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{len(FILES)} checkpoints: " in outcome.out or len(FILES) == 1
