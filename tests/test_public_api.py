"""What `import sacdoctor` promises to programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sacdoctor
from tests import torch_truth
from tests.conftest import child_environment


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
