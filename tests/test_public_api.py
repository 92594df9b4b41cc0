"""What `import sacdoctor` promises to programs."""

from __future__ import annotations

import errno
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

import sacdoctor
from sacdoctor.report.formats.json.schemas import schema as schema_of
from tests import torch_truth
from tests.conftest import Run, child_environment
from tests.report.formats.reports import hostile


def test_scan_returns_a_report(broken: Path) -> None:
    report = sacdoctor.scan(broken)
    assert isinstance(report, sacdoctor.Report)
    assert (report.status, report.algorithm) == ("critical", "RecurrentPPO")
    dead = {
        layer.name
        for layer in report.layers
        if layer.role == "bias" and layer.alias_of is None and layer.zeros == layer.parameters
    }
    assert dead == torch_truth.all_zero(torch_truth.state_dict(broken))


def test_scan_takes_a_path_as_text(healthy: Path) -> None:
    assert sacdoctor.scan(str(healthy)) == sacdoctor.scan(healthy)


def test_scan_takes_one_file_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(sacdoctor.CheckpointError, match="it is a folder"):
        sacdoctor.scan(tmp_path)


def test_scan_raises_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(sacdoctor.CheckpointError) as caught:
        sacdoctor.scan(tmp_path / "missing.zip")
    assert caught.value.path == tmp_path / "missing.zip"
    assert "No such file" in caught.value.reason
    assert isinstance(caught.value, sacdoctor.SacdoctorError)


@pytest.mark.parametrize("name", sacdoctor.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sacdoctor, name) is not None


def test_dir_lists_what_there_is() -> None:
    assert dir(sacdoctor) == sorted(sacdoctor.__all__)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = sacdoctor.no_such_thing


def test_reports_are_values(healthy: Path) -> None:
    report = sacdoctor.scan(healthy)
    with pytest.raises(AttributeError):
        report.status = "critical"  # type: ignore[misc]


def test_importing_it_imports_nothing_large() -> None:
    code = "import sacdoctor, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=True,
    )
    assert not {"numpy", "torch", "rich", "typer"} & set(done.stdout.split())


def test_scanning_imports_no_torch(healthy: Path) -> None:
    code = f"import sacdoctor, sys; sacdoctor.scan({str(healthy)!r}); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=True,
    )
    assert not {"torch", "stable_baselines3", "pandas"} & set(done.stdout.split())


def test_types_are_shipped() -> None:
    assert (Path(sacdoctor.__file__).parent / "py.typed").is_file()


# -- how results show themselves ---------------------------------------------------------------


@pytest.fixture(scope="module")
def results(healthy: Path, broken: Path) -> dict[str, Any]:
    return {
        "Report": sacdoctor.scan(broken),
        "Difference": sacdoctor.diff(healthy, broken),
        "History": sacdoctor.read_history(broken.parent),
        "Checkup": sacdoctor.check_up(broken),
        "WarmupReport": sacdoctor.audit_warmup(broken),
    }


each_result = pytest.mark.parametrize(
    "name", ["Report", "Difference", "History", "Checkup", "WarmupReport"]
)


@each_result
def test_its_repr_is_a_line(results: dict[str, Any], name: str) -> None:
    text = repr(results[name])
    assert text.startswith(f"<{name} ")
    assert "\n" not in text
    assert len(text) < 250


def test_the_line_says_what_is_worst(results: dict[str, Any], tmp_path: Path) -> None:
    assert repr(results["Report"]) == (
        "<Report two_head_broken.zip: critical. 28 of 64 bias tensors are 100 % zero; "
        "cause: not-in-optimizer. Also: SD401.>"
    )


@each_result
def test_its_document_is_the_one_that_the_command_writes(
    results: dict[str, Any], run: Run, healthy: Path, broken: Path, name: str
) -> None:
    command: dict[str, tuple[object, ...]] = {
        "Report": ("scan", "--all", "--format", "jsonl", broken),
        "Difference": ("diff", "--format", "json", healthy, broken),
        "History": ("history", "--format", "json", broken.parent),
        "Checkup": ("checkup", "--format", "json", broken),
        "WarmupReport": ("warmup", "--format", "json", broken),
    }
    document = results[name].to_dict()
    assert document == json.loads(run(*command[name]).out)
    schema = {"Report": "scan-line", "Difference": "diff", "WarmupReport": "warmup"}
    jsonschema.validate(document, schema_of(schema.get(name, name.lower())))


@each_result
def test_its_page_is_sound_and_has_a_row_for_each(results: dict[str, Any], name: str) -> None:
    html = results[name]._repr_html_()
    assert ElementTree.fromstring(f"<div>{html}</div>") is not None
    rows = {"Report": 3, "Difference": 20, "History": 4, "Checkup": None, "WarmupReport": 0}[name]
    assert rows is None or html.count("<tr><td") == rows


def test_names_from_files_stay_text_in_a_notebook(tmp_path: Path) -> None:
    html = sacdoctor.scan(hostile(tmp_path))._repr_html_()
    found = ElementTree.fromstring(f"<div>{html}</div>")
    assert {one.tag for one in found.iter()} <= {
        "div",
        "p",
        "b",
        *["table", "thead", "tbody", "tr", "th", "td"],
    }
    assert "&lt;b&gt;" in html


def test_a_frame_has_a_row_per_tensor(results: dict[str, Any]) -> None:
    report = results["Report"]
    frame = report.to_dataframe()
    assert [*frame["name"]] == [layer.name for layer in report.layers]
    dead = frame[(frame["role"] == "bias") & (frame["zero_percent"] == 100)]
    assert len(dead) == 28
    assert [*results["Difference"].to_dataframe()["name"]] == [
        tensor.name for tensor in results["Difference"].tensors
    ]
    assert len(results["History"].to_dataframe()) == 4


def test_without_pandas_the_line_to_type_is_said(
    results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        results["Report"].to_dataframe()


def test_words_of_results_are_enums_that_equal_their_texts(results: dict[str, Any]) -> None:
    report = results["Report"]
    assert type(report.status) is sacdoctor.Status
    layer = report.biases[0]
    assert (type(layer.kind), type(layer.role)) == (sacdoctor.Kind, sacdoctor.TensorRole)
    assert layer.role == "bias"
    tensor = results["Difference"].tensors[0]
    assert type(tensor.status) is sacdoctor.TensorStatus
    assert {type(f.severity) for f in report.findings} == {sacdoctor.Severity}


# -- what is not there -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        sacdoctor.scan,
        sacdoctor.fix,
        sacdoctor.fix_config,
        sacdoctor.read_history,
        sacdoctor.check_up,
        sacdoctor.audit_warmup,
        sacdoctor.load,
        sacdoctor.load_replay_buffer,
        sacdoctor.Checkpoint,
        lambda path: sacdoctor.diff(path, path),
    ],
)
@pytest.mark.parametrize("name", ["missing.zip", "missing.yml", "missing"])
def test_a_missing_file_is_pythons_own_error_too(
    call: Callable[[Path], object], tmp_path: Path, name: str
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        call(tmp_path / name)
    error = caught.value
    assert isinstance(error, sacdoctor.SacdoctorError)
    assert str(error) == f"{tmp_path / name}: No such file or directory"
    assert (error.errno, str(error.filename)) == (errno.ENOENT, str(tmp_path / name))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason) == (str(error), error.reason)


def test_what_is_there_and_no_checkpoint_is_not_missing(tmp_path: Path) -> None:
    with pytest.raises(sacdoctor.CheckpointError) as caught:
        sacdoctor.scan(tmp_path)
    assert not isinstance(caught.value, OSError)


# -- an open checkpoint ------------------------------------------------------------------------


def test_checkpoint_gives_tensors_settings_and_optimizers(broken: Path) -> None:
    truth = torch_truth.state_dict(broken)
    with sacdoctor.Checkpoint(broken) as checkpoint:
        assert {name: t.shape for name, t in checkpoint.tensors.items()} == {
            name: tuple(tensor.shape) for name, tensor in truth.items()
        }
        for name, tensor in checkpoint.tensors.items():
            assert (tensor.values == truth[name].numpy()).all()
        assert checkpoint.hyperparameters["n_steps"] == 128
        assert list(checkpoint.optimizers) == ["policy.optimizer"]


def test_broken_policy_has_fewer_optimizer_entries_than_parameters(broken: Path) -> None:
    """41 of 132, as DESIGN's account of the case says."""
    with sacdoctor.Checkpoint(broken) as checkpoint:
        assert len(checkpoint.optimizers["policy.optimizer"].entries) == 41


def test_views_outlive_the_checkpoint(healthy: Path) -> None:
    with sacdoctor.Checkpoint(healthy) as checkpoint:
        values = checkpoint.tensors["action_net.weight"].values
    assert (values == torch_truth.state_dict(healthy)["action_net.weight"].numpy()).all()


def test_log_ent_coef_is_found(tmp_path: Path) -> None:
    from tests.agents import train

    model = train("SAC", "MlpPolicy")
    model.save(tmp_path / "m.zip")
    with sacdoctor.Checkpoint(tmp_path / "m.zip") as checkpoint:
        found = checkpoint.variables["log_ent_coef"].item()
    assert found == pytest.approx(model.log_ent_coef.item())  # type: ignore[attr-defined]
