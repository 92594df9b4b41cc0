"""The borders between severities: a share of zeros is judged by what it exceeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th
from torch import nn

from sacdoctor import ScanOptions, Thresholds, scan
from sacdoctor.report.formats.table.scan import headline
from sacdoctor.severity import Severity, Status
from tests.archives import write_sb3

STOP = "Stop training"


def with_zeros(path: Path, zeros: int, of: int = 1000) -> Path:
    bias = th.ones(of)
    bias[:zeros] = 0
    return write_sb3(path, {"actor.mu.weight": th.ones(of, 2), "actor.mu.bias": bias})


@pytest.mark.parametrize(
    ("zeros", "severity"),
    [
        (0, "ok"),
        (49, "ok"),
        (50, "ok"),
        (51, "notice"),
        (100, "notice"),
        (101, "warning"),
        (300, "warning"),
        (301, "critical"),
        (500, "critical"),
        (501, "critical"),
        (1000, "critical"),
    ],
)
def test_severity_at_the_borders(tmp_path: Path, zeros: int, severity: str) -> None:
    report = scan(with_zeros(tmp_path / "m.zip", zeros))
    (bias,) = report.biases
    assert (bias.zeros, bias.zero_percent) == (zeros, zeros / 10)
    assert bias.severity == severity
    assert report.status == ("healthy" if severity == "ok" else severity)


@pytest.mark.parametrize(("zeros", "says_stop"), [(300, False), (500, False), (501, True)])
def test_above_half_the_text_says_to_stop(tmp_path: Path, zeros: int, says_stop: bool) -> None:
    report = scan(with_zeros(tmp_path / "m.zip", zeros))
    assert (STOP in headline(report).plain) == says_stop


def test_a_warning_never_says_to_stop(tmp_path: Path) -> None:
    thresholds = Thresholds(warning=10, critical=100)
    report = scan(with_zeros(tmp_path / "m.zip", 1000), ScanOptions(thresholds=thresholds))
    assert report.status == "warning"
    assert STOP not in headline(report).plain


@pytest.mark.parametrize(
    ("warning", "critical", "zeros", "severity"),
    [
        (0.0, 0.0, 1, "critical"),
        (0.0, 100.0, 1, "warning"),
        (0.0, 100.0, 0, "ok"),
        (2.0, 30.0, 21, "warning"),
        (2.0, 30.0, 20, "ok"),
        (50.0, 50.0, 500, "notice"),
        (50.0, 50.0, 501, "critical"),
        (100.0, 100.0, 1000, "notice"),
    ],
)
def test_thresholds_of_the_user(
    tmp_path: Path, warning: float, critical: float, zeros: int, severity: str
) -> None:
    options = ScanOptions(thresholds=Thresholds(warning=warning, critical=critical))
    (bias,) = scan(with_zeros(tmp_path / "m.zip", zeros), options).biases
    assert bias.severity == severity


@pytest.mark.parametrize(
    ("warning", "critical"), [(-1, 30), (10, 101), (31, 30), (float("nan"), 30), (10, float("nan"))]
)
def test_thresholds_that_make_no_sense_are_refused(warning: float, critical: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Thresholds(warning=warning, critical=critical)


# -- normalisation layers ----------------------------------------------------------------------

NORMS = {
    "LayerNorm": nn.LayerNorm(8),
    "LayerNorm-two-dimensions": nn.LayerNorm([2, 4]),
    "BatchNorm": nn.BatchNorm1d(8),
    "GroupNorm": nn.GroupNorm(2, 8),
}


def norm_report(path: Path, module: nn.Module):  # type: ignore[no-untyped-def]
    state = {f"actor.norm.{name}": value.clone() for name, value in module.state_dict().items()}
    (bias,) = scan(write_sb3(path, state)).biases
    return bias


@pytest.mark.parametrize("name", NORMS)
def test_fresh_norm_is_a_notice(tmp_path: Path, name: str) -> None:
    bias = norm_report(tmp_path / "m.zip", NORMS[name])
    assert (bias.zero_percent, bias.severity, bias.cause) == (100, "notice", "normalisation-init")
    assert bias.evidence


def test_fresh_norm_counts_among_the_zero_biases(tmp_path: Path) -> None:
    state = {f"norm.{name}": value for name, value in nn.LayerNorm(8).state_dict().items()}
    summary = scan(write_sb3(tmp_path / "m.zip", state)).summary
    assert summary is not None
    assert (summary.all_zero_bias_tensors, summary.notice, summary.critical) == (1, 1, 0)


def test_norm_with_a_trained_weight_is_critical(tmp_path: Path) -> None:
    module = nn.LayerNorm(8)
    with th.no_grad():
        module.weight[3] = 1.0000001
    assert norm_report(tmp_path / "m.zip", module).severity == "critical"


def test_norm_with_half_a_bias_is_critical(tmp_path: Path) -> None:
    module = nn.LayerNorm(8)
    with th.no_grad():
        module.bias[:4] = 0.5
    bias = norm_report(tmp_path / "m.zip", module)
    assert (bias.zero_percent, bias.severity) == (50, "critical")


def test_linear_layer_with_weights_of_one_is_no_norm(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "m.zip", {"fc.weight": th.ones(4, 1), "fc.bias": th.zeros(4)})
    (bias,) = scan(path).biases
    assert (bias.severity, bias.cause) != ("notice", "normalisation-init")
    assert bias.severity == "critical"


# -- what has no severity ----------------------------------------------------------------------


def test_only_biases_are_judged(tmp_path: Path) -> None:
    policy = {
        "fc.weight": th.zeros(4, 4),
        "log_std": th.zeros(4),
        "norm.running_mean": th.zeros(4),
        "norm.num_batches_tracked": th.tensor(0),
        "memory.bias": th.zeros(4, dtype=th.long),
        "empty.bias": th.empty(0),
    }
    for layer in scan(write_sb3(tmp_path / "m.zip", policy)).layers:
        assert layer.severity is None, layer.name


# -- the status that severities make -----------------------------------------------------------


@pytest.mark.parametrize(
    ("severities", "status"),
    [
        ([], "healthy"),
        ([Severity.OK], "healthy"),
        ([Severity.NOTICE, Severity.OK], "notice"),
        ([Severity.WARNING, Severity.CRITICAL, Severity.NOTICE], "critical"),
    ],
    ids=str,
)
def test_a_checkpoint_is_as_its_worst_severity(severities: list[Severity], status: str) -> None:
    assert Status.of(severities) == status


def test_what_cannot_be_read_is_worse_than_what_is_critical() -> None:
    assert Status.worst({Status.CRITICAL, Status.ERROR, Status.HEALTHY}) == "error"
    assert Status.worst({Status.NOTICE, Status.WARNING}) == "warning"
    assert Status.worst(()) == "healthy"
